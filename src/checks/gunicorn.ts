import { known } from './problems';

/** Values that may follow an option. */
const VALUES = {
  'a whole number': /^\d+$/,
  // Each thread may use two of the 45 connections of a process (docs/settings.md).
  'a whole number from 1 to 40': /^([1-9]|[123]\d|40)$/,
  // oauth2-proxy keeps an idle connection for 90 seconds.
  'a whole number above 90': /^(9[1-9]|[1-9]\d{2,})$/,
  'a name': /^[a-z]+$/, // not a path, which gunicorn would load
  'a value': /^(?!-.)/, // gunicorn reads a value that begins with a dash as an option, except a single dash
  'no value': undefined,
};

/**
 * Options that `gunicornOpts` may contain: they tune gunicorn and have an effect with its uvicorn workers. Other options bind the server elsewhere, load
 * code, read options from other places, trust headers of clients, hide the log, or are for other kinds of workers.
 */
export const GUNICORN_OPTIONS: Record<string, keyof typeof VALUES> = {
  '--access-logfile': 'a value',
  '--backlog': 'a whole number',
  '--capture-output': 'no value',
  '--graceful-timeout': 'a whole number',
  '--keep-alive': 'a whole number above 90',
  '--log-level': 'a name',
  '--max-requests': 'a whole number',
  '--max-requests-jitter': 'a whole number',
  '--preload': 'no value',
  '--threads': 'a whole number from 1 to 40',
  '--timeout': 'a whole number',
  '--worker-tmp-dir': 'a value',
  '-t': 'a whole number',
};

export function gunicornProblems(gunicornOpts?: string): string[] {
  if (!known(gunicornOpts)) {
    return [];
  }
  const words = wordsOf(gunicornOpts);
  if (words.length === 0) {
    return [`\`gunicornOpts\` must contain at least one option, got ${JSON.stringify(gunicornOpts)}: leave it out`];
  }
  if (gunicornOpts.includes('\\')) {
    return [`\`gunicornOpts\` must not contain a backslash, got ${JSON.stringify(gunicornOpts)}: use quotes around a value with blanks`];
  }
  const problems: string[] = [];
  while (words.length > 0) {
    const word = words.shift()!;
    const [, long, longValue, short, shortValue] = /^(--[^=]+)(?:=(.*))?$|^(-[A-Za-z])(?:=?(.+))?$/s.exec(word) ?? [];
    const option = long ?? short;
    const kind = GUNICORN_OPTIONS[option];
    if (kind === undefined) {
      while (words[0]?.startsWith('-') === false) {
        words.shift(); // the values of the refused option
      }
      problems.push(`\`gunicornOpts\` must contain only options that tune gunicorn, got ${JSON.stringify(word)}: leave it out (for the number of workers use \`workers\`), or use one of ${Object.keys(GUNICORN_OPTIONS).join(', ')}`);
      continue;
    }
    const attached = longValue ?? shortValue;
    const value = attached === undefined && kind !== 'no value' ? words.shift() : attached;
    const isRight = kind === 'no value' ? value === undefined : value !== undefined && VALUES[kind]!.test(value);
    if (!isRight) {
      problems.push(`\`gunicornOpts\`: ${option} must have ${kind}, got ${JSON.stringify(value ?? '')}`);
    }
  }
  return problems;
}

/** Splits the text into words in the same way as a shell and MLflow. */
function wordsOf(text: string): string[] {
  const words = text.match(/(?:"[^"]*"?|'[^']*'?|[^ \t\r\n"'])+/g) ?? [];
  return words.map(word => word.replace(/"([^"]*)"|'([^']*)'/g, '$1$2'));
}
