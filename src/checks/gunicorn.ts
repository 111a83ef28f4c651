import { known } from './problems';

/** What may follow an option. */
const VALUES = {
  'a whole number': /^\d+$/,
  // Each thread may hold two of the 45 connections of a process (docs/settings.md).
  'a whole number from 1 to 40': /^([1-9]|[123]\d|40)$/,
  // oauth2-proxy keeps an idle connection for 90 seconds.
  'a whole number above 90': /^(9[1-9]|[1-9]\d{2,})$/,
  'a name': /^[a-z]+$/, // not a path, which would be loaded
  'a value': /^(?!-.)/, // gunicorn takes what begins with a dash for an option, but not a dash alone
  'no value': undefined,
};

/**
 * What `gunicornOpts` may hold: options that tune gunicorn and are heard. Others rebind the server, load code, read options from elsewhere, believe
 * what clients say, hide the log, or are for other workers than uvicorn's.
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
    return [`\`gunicornOpts\` must hold at least one option, got ${JSON.stringify(gunicornOpts)}: leave it out`];
  }
  if (gunicornOpts.includes('\\')) {
    return [`\`gunicornOpts\` must hold no backslash, got ${JSON.stringify(gunicornOpts)}: use quotes around a value with blanks`];
  }
  const problems: string[] = [];
  while (words.length > 0) {
    const word = words.shift()!;
    const [, long, longValue, short, shortValue] = /^(--[^=]+)(?:=(.*))?$|^(-[A-Za-z])(?:=?(.+))?$/s.exec(word) ?? [];
    const option = long ?? short;
    const kind = GUNICORN_OPTIONS[option];
    if (kind === undefined) {
      while (words[0]?.startsWith('-') === false) {
        words.shift(); // what belongs to it
      }
      problems.push(`\`gunicornOpts\` must hold options alone that tune gunicorn, got ${JSON.stringify(word)}: leave it out (for the number of workers use \`workers\`), or use one of ${Object.keys(GUNICORN_OPTIONS).join(', ')}`);
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

/** As a shell would read it, and MLflow does. */
function wordsOf(text: string): string[] {
  const words = text.match(/(?:"[^"]*"?|'[^']*'?|[^ \t\r\n"'])+/g) ?? [];
  return words.map(word => word.replace(/"([^"]*)"|'([^']*)'/g, '$1$2'));
}
