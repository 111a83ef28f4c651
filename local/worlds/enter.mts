/**
 * Runs this program again in namespaces of its own, where the verbatim world is played. They have no names: when the last process in them ends,
 * by itself or because this one did, the kernel takes networks, mounts and processes away.
 */

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { rootCertificates } from 'node:tls';
import { execa } from 'execa';
import { removeGroups } from './memory.mjs';
import { hostsFile, ip, networks } from './namespaces.mjs';
import { authority, authorityVariable, handedOver } from '../aws/certificates.mjs';

const unshare = ['unshare', '--net', '--mount', '--pid', '--fork', '--kill-child', '--mount-proc'];
const programs = ['crun', 'ip', 'nft', 'nsenter', 'setpriv', 'tini', 'unshare'];

const folderVariable = 'SECURE_MLFLOW_WORLD';
/** Where this process writes, in one. */
export const folderOfWorld = process.env[folderVariable];
/** Whether this process is in one. */
export const inVerbatimWorld = handedOver !== undefined;

/** What is missing for one here, as the end of "only where …". */
export async function missingForVerbatim(): Promise<string | undefined> {
  if (process.platform !== 'linux' || process.getuid!() !== 0) {
    return 'one is root on Linux';
  }
  const missing = (await Promise.all(programs.map(async name => (await execa('which', [name], { reject: false })).failed ? [name] : []))).flat();
  if (missing.length > 0) {
    return `there are ${missing.join(', ')} (on Debian the packages crun, iproute2, nftables, tini and util-linux)`;
  }
  const [program, ...args] = unshare;
  return (await execa(program, [...args, 'true'], { reject: false })).failed ? 'one may make namespaces' : undefined;
}

/** With these arguments. Nobody but `stop` ends it before its time, in order. */
export async function enter(folder: string, args: readonly string[], output: 'show' | 'keep'): Promise<{ readonly ended: Promise<string | undefined>; stop(): Promise<void> }> {
  const trusted = join(folder, 'trusted.pem');
  mkdirSync(folder, { recursive: true });
  refuseSecond(join(folder, 'pid'));
  await removeGroups(folder); // of a run that was killed
  writeFileSync(trusted, [...rootCertificates, authority.cert].join('\n')); // Node reads it when it starts
  const again = [process.execPath, ...process.execArgv, process.argv[1], ...args];
  const inner = execa('setpriv', ['--pdeathsig', 'KILL', ...unshare, 'tini', '--', ...again], {
    env: {
      [authorityVariable]: JSON.stringify(authority), [folderVariable]: folder, NODE_OPTIONS: '--use-openssl-ca', SSL_CERT_FILE: trusted, REQUESTS_CA_BUNDLE: trusted, AWS_CA_BUNDLE: trusted,
    },
    ...output === 'show' ? { stdio: 'inherit' } : { stdin: 'ignore', all: true },
    detached: true, // Ctrl-C in the terminal reaches this process alone, which passes it on
    reject: false,
  });
  const ended = inner.then(({ all }) => all).finally(() => removeGroups(folder));
  return {
    ended,
    async stop() {
      const children = `/proc/${inner.pid}/task/${inner.pid}/children`;
      if (existsSync(children)) {
        readFileSync(children, 'utf8').split(' ').filter(Boolean).forEach(first => process.kill(Number(first), 'SIGTERM'));
      }
      await ended;
    },
  };
}

/** Two at once would take each other's files. */
function refuseSecond(file: string): void {
  const first = existsSync(file) ? readFileSync(file, 'utf8') : '';
  if (first !== '' && existsSync(`/proc/${first}`) && readFileSync(`/proc/${first}/cmdline`, 'utf8').includes('try.mts')) {
    throw new Error(`these checks run in this checkout already, as process ${first}: wait for its end, or take another checkout`);
  }
  writeFileSync(file, String(process.pid));
}

/** The first thing inside. */
export async function settle(folder: string): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const [hosts, resolver] = ['hosts', 'resolv.conf'].map(name => join(folder, name));
  writeFileSync(hosts, '127.0.0.1 localhost\n');
  writeFileSync(resolver, '');
  mkdirSync(networks, { recursive: true });
  await execa('mount', ['-t', 'tmpfs', 'tmpfs', networks]);
  await execa('mount', ['--bind', hosts, hostsFile]);
  await execa('mount', ['--bind', resolver, '/etc/resolv.conf']);
  if (existsSync('/sys/fs/cgroup/unified')) {
    await execa('umount', ['/sys/fs/cgroup/unified']); // crun knows both versions of control groups, but not both at once
  }
  writeFileSync('/proc/sys/net/ipv4/ip_forward', '1'); // a task is closed by its group and not because nothing leads there
  await ip(['link set lo up']);
}
