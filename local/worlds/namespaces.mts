/** Settings with `ip`, `nft` and in `/etc`, for this network namespace and those of tasks. */

import { mkdirSync, writeFileSync } from 'node:fs';
import { isIP } from 'node:net';
import { join } from 'node:path';
import { execa } from 'execa';
import type { Mount } from './container.mjs';

/** The folder of `ip netns`, which exists only in this mount namespace. */
export const networks = '/run/netns';

/** Runs commands of `ip`, in this network namespace or another. */
export async function ip(commands: string[], namespace?: string): Promise<void> {
  await execa('ip', [...namespace === undefined ? [] : ['-n', namespace], '-batch', '-'], { input: `${commands.join('\n')}\n` });
}

/** Sets which new connections are allowed. Established connections and those within a namespace are always allowed. */
export async function nft(namespace: string | undefined, rules: { readonly input: string[]; readonly output: string[] }, policy: 'accept' | 'drop'): Promise<void> {
  const chain = (hook: 'input' | 'output') => `  chain ${hook} {
    type filter hook ${hook} priority 0; policy ${policy};
    ${[`${hook === 'input' ? 'iif' : 'oif'} lo accept`, 'ct state established,related accept', ...rules[hook]].join('\n    ')}
  }`;
  const table = `table ip groups\ndelete table ip groups\ntable ip groups {\n${chain('input')}\n${chain('output')}\n}\n`;
  const [program, ...args] = [...namespace === undefined ? [] : ['nsenter', `--net=${join(networks, namespace)}`], 'nft', '-f', '-'];
  await execa(program, args, { input: table });
}

/** The hosts file of this mount namespace. It is the only source for names. */
export const hostsFile = '/etc/hosts';
const addresses = new Map<string, string>();

/** The address of a host. A new name gets a new address of the network. */
export async function addressOf(host: string, network: string): Promise<string> {
  const address = addresses.get(host) ?? (isIP(host) ? host : `${network}.${addresses.size + 1}`);
  if (!addresses.has(host)) {
    addresses.set(host, address);
    await ip([`address add ${address}/32 dev lo`]);
    const names = [...addresses].filter(([name]) => !isIP(name)).map(([name, its]) => `${its} ${name}\n`);
    writeFileSync(hostsFile, `127.0.0.1 localhost\n${names.join('')}`);
  }
  return address;
}

/** The files of ECS and the image in `/etc`. */
export function etc(folder: string): Mount[] {
  const files = {
    'passwd': 'root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/sh\n',
    'group': 'root:x:0:\nnogroup:x:65534:\n',
    'nsswitch.conf': 'passwd: files\ngroup: files\nhosts: files dns\n',
    'resolv.conf': '',
  };
  mkdirSync(join(folder, 'etc'), { recursive: true });
  return [
    ...Object.entries(files).map(([name, content]) => {
      const source = join(folder, 'etc', name);
      writeFileSync(source, content);
      return { source, destination: `/etc/${name}` };
    }),
    { source: hostsFile, destination: hostsFile },
  ];
}
