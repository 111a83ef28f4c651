/** A stand-in for ElastiCache Serverless: Valkey or Redis with TLS only, the user of the template with its rights, and the slots of a cluster on one server. */

import { accessSync, constants, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { connect } from 'node:tls';
import { authority, type Certificate } from './certificates.mjs';
import { Daemon, freePort, untilReady } from '../processes.mjs';
import type { Secrets } from './secrets.mjs';
import type { Template } from './template.mjs';
import type { Site } from '../worlds/world.mjs';

interface User {
  readonly UserName: string;
  readonly AccessString: string;
  readonly Passwords: string[];
}

type Reply = string | number | null | Error | Reply[];

/** The first of the two programs that is on the path. */
export function findSessionServer(): string | undefined {
  const paths = ['valkey-server', 'redis-server'].flatMap(name => (process.env.PATH ?? '').split(delimiter).map(folder => join(folder, name)));
  return paths.find(path => {
    try {
      accessSync(path, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

export class SessionServer {
  private readonly user: User;
  private readonly administrator = { name: 'administrator', password: `administrator-${process.pid}` };
  private launch!: () => Daemon;
  private daemon?: Daemon;

  constructor(template: Template, private readonly secrets: Secrets, private readonly site: Site, private readonly certificate: Certificate) {
    this.user = template.single('AWS::ElastiCache::User');
  }

  async start(folder: string, log: string): Promise<void> {
    const program = findSessionServer();
    if (program === undefined) {
      throw new Error('sessions on the server need valkey-server or redis-server: install the package valkey or redis-server');
    }
    const { host, port } = this.site.listen;
    const clusterPort = await freePort();
    const passwords = this.user.Passwords.map(password => `>${this.secrets.resolve(password)}`);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { mode: 0o700 });
    const files = {
      'server.pem': this.certificate.cert,
      'server.key': this.certificate.key,
      'ca.pem': authority.cert,
      'users.acl': [
        'user default off',
        `user ${this.user.UserName} ${this.user.AccessString} ${passwords.join(' ')}`,
        `user ${this.administrator.name} on ~* +@all >${this.administrator.password}`, // an account that ElastiCache does not give away
      ].join('\n'),
      'nodes.conf': `${'1'.repeat(40)} ${host}:${port}@${clusterPort} myself,master - 0 0 1 connected 0-16383\nvars currentEpoch 1 lastVoteEpoch 0\n`,
    };
    const settings = {
      'port': '0',
      'tls-port': String(port),
      'bind': host,
      'tls-cert-file': 'server.pem',
      'tls-key-file': 'server.key',
      'tls-ca-cert-file': 'ca.pem',
      'tls-auth-clients': 'no',
      'aclfile': join(folder, 'users.acl'),
      'cluster-enabled': 'yes',
      'cluster-config-file': 'nodes.conf',
      'cluster-port': String(clusterPort),
      'tls-cluster': 'yes',
      'save': '', // the data is lost when the process ends
    };
    for (const [name, content] of Object.entries(files)) {
      writeFileSync(join(folder, name), content, { mode: 0o600 });
    }
    // `dir` comes first, because names of files are resolved in it immediately.
    const args = [...Object.entries({ dir: folder, ...settings })].flatMap(([name, value]) => [`--${name}`, value]);
    this.launch = () => new Daemon([program, ...args], { env: { PATH: '/usr/bin:/bin' }, log });
    await this.resume();
  }

  /** Starts again after `stop`, empty. */
  async resume(): Promise<void> {
    this.daemon = this.launch();
    await untilReady(this.daemon, 'the session store', async () => {
      const state = await this.ask('CLUSTER', 'INFO') as string;
      if (!state.includes('cluster_state:ok')) {
        throw new Error(state);
      }
    });
  }

  async whileItHangs<T>(use: () => Promise<T>): Promise<T> {
    process.kill(this.daemon!.pid, 'SIGSTOP');
    try {
      return await use();
    } finally {
      process.kill(this.daemon!.pid, 'SIGCONT');
    }
  }

  async stop(): Promise<void> {
    await this.daemon?.stop(10);
  }

  /** Runs a command as administrator. */
  async ask(...command: string[]): Promise<Reply> {
    const { name, password } = this.administrator;
    const socket = connect({ ...this.site.listen, ca: authority.cert });
    try {
      return await new Promise<Reply>((resolve, reject) => {
        let text = '';
        socket.setEncoding('latin1'); // one character for each byte, as the protocol counts
        socket.on('error', reject).on('end', () => reject(new Error('the connection was closed'))).on('data', (chunk: string) => {
          text += chunk;
          const replies = parseReplies(text);
          if (replies.length === 2) {
            const failed = replies.find(reply => reply instanceof Error);
            failed === undefined ? resolve(replies[1]) : reject(failed);
          }
        });
        for (const words of [['AUTH', name, password], command]) {
          socket.write(`*${words.length}\r\n${words.map(word => `$${Buffer.byteLength(word)}\r\n${word}\r\n`).join('')}`);
        }
      });
    } finally {
      socket.destroy();
    }
  }
}

/** Parses the complete replies. https://valkey.io/topics/protocol/ */
function parseReplies(text: string): Reply[] {
  const replies: Reply[] = [];
  let at = 0;
  const line = () => {
    const end = text.indexOf('\r\n', at);
    if (end < 0) {
      throw new RangeError('incomplete');
    }
    const found = text.slice(at, end);
    at = end + 2;
    return found;
  };
  const reply = (): Reply => {
    const head = line();
    const count = Number(head.slice(1));
    switch (head[0]) {
      case ':': return count;
      case '*': return Array.from({ length: count }, reply);
      case '$': {
        if (count < 0) {
          return null;
        }
        const value = text.slice(at, at + count);
        if (text.length < at + count + 2) {
          throw new RangeError('incomplete');
        }
        at += count + 2;
        return value;
      }
      case '+': return head.slice(1);
      default: return new Error(head.slice(1));
    }
  };
  try {
    while (at < text.length) {
      replies.push(reply());
    }
  } catch (error) {
    if (!(error instanceof RangeError)) {
      throw error;
    }
  }
  return replies;
}
