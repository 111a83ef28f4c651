/** `npm run try` as contributors use it: in two checkouts at the same time, one of them with `--watch`, until Ctrl-C or until it is killed. */

import assert from 'node:assert/strict';
import { chmodSync, cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, readlinkSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { execa } from 'execa';
import { root, work, type Count } from './steps.mjs';
import { Checks } from '../local/checks/checks.mjs';
import { bearer, client, json, type Message } from '../local/clients/http.mjs';
import { folder, installPrograms } from '../local/run.mjs';
import { missingForVerbatim } from '../local/worlds/enter.mjs';

/** Files are changed in this copy, so that the checkout itself stays unchanged. It is below `/tmp`, as a volume of the task is: its path may be part of other paths. */
const copy = mkdtempSync('/tmp/checkout-');
const anotherPort = '8444';
/** In a terminal other code runs, such as listr2's for the cursor, and the terminal sends the signal. Only this `script` of util-linux has the options. */
const inTerminal = process.platform === 'linux';

interface Run { readonly info: { readonly run_id: string } }

export async function checkTwoCheckouts(): Promise<Count> {
  await installPrograms();
  copyCheckout();
  const checks = new Checks();
  const first = new Try(root, [], inTerminal);
  const second = new Try(copy, ['--port', anotherPort, '--watch']);
  await checks.check('two checkouts run at the same time', async () => {
    await Promise.all([first, second].map(each => each.prints(/Ctrl-C stops/)));
  });
  await checks.check('a change restarts only what it affects: the task, which keeps the data', () => change(second));
  await checks.check(`Ctrl-C ends both${inTerminal ? ', one of them in a terminal,' : ''} and leaves no process behind`, async () => {
    await Promise.all([first, second].map(each => each.end('SIGINT')));
    const { stdout } = await execa('ps', ['-Ao', 'args']);
    const left = stdout.split('\n').filter(args => args.includes(copy) || args.includes(folder) && !args.includes(work)); // other steps use that folder
    assert.equal(left.length, 0, [...left, first.printed, second.printed].join('\n'));
  });
  await checkEndsOfWorlds(checks);
  rmSync(copy, { recursive: true });
  return checks;
}

/** The last run also removes what the killed run left behind. */
async function checkEndsOfWorlds(checks: Checks): Promise<void> {
  const missing = await missingForVerbatim();
  if (missing !== undefined) {
    console.log(`  - skipped: stopping tasks that run as they are synthesised; it runs only where ${missing}`);
    return;
  }
  const [before, groupsBefore] = [remains(), controlGroups()];
  for (const signal of ['SIGKILL', 'SIGINT'] as const) {
    await checks.check(`${signal} in the middle of the checks leaves no process and no network of a task behind`, async () => {
      const running = new Try(copy, ['--check', 'world']);
      await running.prints(/has containers with the users/);
      assert(remains().length > before.length, 'nothing is running that could be left behind');
      await running.end(signal);
      for (let tries = 0; remains().length > before.length && tries < 50; tries += 1) {
        await sleep(200); // the kernel needs a moment
      }
      assert.deepEqual(remains(), before);
    });
  }
  await checks.check('no control group is left behind', async () => assert.deepEqual(controlGroups(), groupsBefore));
}

/** Processes in another process namespace, and networks with a name. */
function remains(): string[] {
  const namespace = (pid: string) => {
    try {
      return readlinkSync(`/proc/${pid}/ns/pid`);
    } catch {
      return undefined; // it has ended
    }
  };
  const own = namespace('self');
  const others = readdirSync('/proc').filter(name => /^\d+$/.test(name)).filter(pid => ![own, undefined].includes(namespace(pid)));
  return [...others, ...existsSync('/run/netns') ? readdirSync('/run/netns') : []];
}

function controlGroups(): string[] {
  return ['/sys/fs/cgroup', '/sys/fs/cgroup/memory'].filter(existsSync).flatMap(folderOfGroups => readdirSync(folderOfGroups)).filter(name => name.startsWith('cdk-secure-mlflow-'));
}

function copyCheckout(): void {
  chmodSync(copy, 0o755); // as a clone has it
  for (const name of ['package.json', 'src', 'containers', 'local', 'scripts', join('examples', 'typescript', 'quick-start')]) {
    cpSync(join(root, name), join(copy, name), { recursive: true });
  }
  symlinkSync(join(root, 'node_modules'), join(copy, 'node_modules'));
  mkdirSync(join(copy, '.try'));
  for (const name of ['mlflow', 'aws', 'oauth2-proxy']) {
    symlinkSync(join(folder, name), join(copy, '.try', name));
  }
}

/** After each change, waits for the line that is printed about it. */
async function change(watching: Try): Promise<string> {
  const app = join(copy, 'examples', 'typescript', 'quick-start', 'app.ts');
  const door = join(copy, 'containers', 'secure_mlflow', 'door.py');
  const [appNow, doorNow] = [app, door].map(file => readFileSync(file, 'utf8'));
  await watching.prints(/are applied/);
  const run = await call('/api/2.0/mlflow/runs/create', json({ experiment_id: '0' }));

  writeFileSync(app, `${appNow}throw new Error('not like this');`);
  await watching.prints(/app\.ts changed: ✗ [^]*not like this[^]*Waiting for the next change/);
  writeFileSync(app, appNow.replace('emailDomains:', 'databaseCapacity: { maxAcus: 8 }, emailDomains:'));
  await watching.prints(/app\.ts changed: ✗ more than the task changes \(MlflowDatabaseCluster\w+\)/);
  writeFileSync(app, `${appNow}// a comment\n`);
  await watching.prints(/app\.ts changed: the task is unchanged/);
  writeFileSync(door, 'raise SystemExit("not like this")\n');
  await watching.prints(/door\.py changed: ✗ [^]*Waiting for the next change/);
  writeFileSync(door, `${doorNow}# a comment\n`);
  const restarted = await watching.prints(/(?<=door\.py changed: )task restarted in \d+ s/);

  assert.deepEqual((await call(`/api/2.0/mlflow/runs/get?run_id=${run.info.run_id}`)).info, run.info);
  return restarted;
}

/** Calls the second server with the token and the certificate that its run wrote to files. */
async function call(path: string, message: Message = {}): Promise<Run> {
  const [, token] = /TOKEN=(.*)/.exec(readFileSync(join(copy, '.try', 'env.sh'), 'utf8'))!;
  const send = client(`https://localhost:${anotherPort}`, readFileSync(join(copy, '.try', 'ca.pem'), 'utf8'));
  const { status, body } = await send(path, { ...message, headers: { ...message.headers, ...bearer(token) } });
  assert.equal(status, 200, body);
  return JSON.parse(body).run;
}

function start(cwd: string, options: readonly string[], terminal: boolean) {
  const command = ['npm', 'run', '--silent', 'try', '--', ...options];
  const [program, ...args] = terminal ? ['script', '--quiet', '--return', '--command', command.join(' '), '/dev/null'] : command;
  return execa(program, args, { cwd, detached: true, reject: false, all: true });
}

class Try {
  private readonly running: ReturnType<typeof start>;
  /** The output after the last text that was waited for. */
  printed = '';

  constructor(cwd: string, options: readonly string[], private readonly terminal = false) {
    this.running = start(cwd, options, terminal);
    this.running.all.on('data', (chunk: Buffer) => { this.printed += chunk.toString(); });
  }

  /** Waits for new output that matches. */
  async prints(pattern: RegExp): Promise<string> {
    const deadline = Date.now() + 180_000;
    for (;;) {
      const found = pattern.exec(this.printed);
      if (found !== null) {
        this.printed = this.printed.slice(found.index + found[0].length);
        return found[0];
      }
      assert(this.running.exitCode === null && Date.now() < deadline, `expected output that matches ${pattern}, got\n${this.printed}`);
      await sleep(100);
    }
  }

  /** Sends the signal as a terminal does: to all processes of the command at the same time. In a terminal, SIGINT is the key Ctrl-C. */
  async end(signal: 'SIGINT' | 'SIGKILL'): Promise<void> {
    if (this.terminal && signal === 'SIGINT') {
      this.running.stdin.write('\x03');
    } else {
      process.kill(-this.running.pid!, signal);
    }
    await this.running;
  }
}
