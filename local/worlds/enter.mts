/**
 * Runs this program again in separate namespaces, which hold the verbatim world. They have no names: when the last process in them ends,
 * on its own or because this one has ended, the kernel removes networks, mounts and processes.
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
/** The folder to which this process writes if it runs in a verbatim world. */
export const folderOfWorld = process.env[folderVariable];
/** Whether this process runs in a verbatim world. */
export const inVerbatimWorld = handedOver !== undefined;

/** What this machine lacks for a verbatim world, as the end of a sentence with "only where …". */
export async function missingForVerbatim(): Promise<string | undefined> {
  if (process.platform !== 'linux' || process.getuid!() !== 0) {
    return 'the user is root on Linux';
  }
  const missing = (await Promise.all(programs.map(async name => (await execa('which', [name], { reject: false })).failed ? [name] : []))).flat();
  if (missing.length > 0) {
    return `these programs are installed: ${missing.join(', ')} (Debian packages crun, iproute2, nftables, tini and util-linux)`;
  }
  const [program, ...args] = unshare;
  return (await execa(program, [...args, 'true'], { reject: false })).failed ? 'the user may create namespaces' : undefined;
}

/** Runs this program with these arguments in a verbatim world. Only `stop` ends it early and in order. */
export async function enter(folder: string, args: readonly string[], output: 'show' | 'keep'): Promise<{ readonly ended: Promise<string | undefined>; stop(): Promise<void> }> {
  const trusted = join(folder, 'trusted.pem');
  mkdirSync(folder, { recursive: true });
  refuseSecond(join(folder, 'pid'));
  await removeGroups(folder); // left by a killed run
  writeFileSync(trusted, [...rootCertificates, authority.cert].join('\n')); // Node reads it when it starts
  const again = [process.execPath, ...process.execArgv, process.argv[1], ...args];
  const inner = execa('setpriv', ['--pdeathsig', 'KILL', ...unshare, 'tini', '--', ...again], {
    env: {
      [authorityVariable]: JSON.stringify(authority), [folderVariable]: folder, NODE_OPTIONS: '--use-openssl-ca', SSL_CERT_FILE: trusted, REQUESTS_CA_BUNDLE: trusted, AWS_CA_BUNDLE: trusted,
    },
    ...output === 'show' ? { stdio: 'inherit' } : { stdin: 'ignore', all: true },
    detached: true, // Ctrl-C in the terminal reaches only this process, which passes it on
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

/** Two runs at the same time would overwrite each other's files. */
function refuseSecond(file: string): void {
  const first = existsSync(file) ? readFileSync(file, 'utf8') : '';
  if (first !== '' && existsSync(`/proc/${first}`) && readFileSync(`/proc/${first}/cmdline`, 'utf8').includes('try.mts')) {
    throw new Error(`these checks already run in this checkout, as process ${first}: wait until it ends, or use another checkout`);
  }
  writeFileSync(file, String(process.pid));
}

/** Prepares the namespaces, before anything else runs in them. */
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
    await execa('umount', ['/sys/fs/cgroup/unified']); // crun supports both versions of control groups, but not at the same time
  }
  writeFileSync('/proc/sys/net/ipv4/ip_forward', '1'); // traffic to a task must be blocked by its security group, not because there is no route
  await ip(['link set lo up']);
}
