/** The one table of what differs from AWS. Nothing else of the synthesised task is changed. */

import { resolve } from 'node:path';
import type { Container, ContainerDefinition } from './ecs.mjs';
import type { User } from '../processes.mjs';
import type { Secrets } from './secrets.mjs';
import { region } from './template.mjs';

interface Substitution {
  readonly what: string;
  readonly aws: string;
  readonly here: string;
  /** `text`: replaced wherever it occurs in a setting. `path`: replaced where a setting begins with it. */
  readonly replaces?: 'text' | 'path';
}

/** A program that stands for an image. */
export interface Program {
  readonly image: string;
  /** The image's entry point. */
  readonly entryPoint: string[];
  /** The image's PATH. */
  readonly path: string;
  readonly here: string;
}

/** What stands in for AWS in this run. */
export interface Surroundings {
  readonly publicUrl: string;
  /** What stands for each issuer, by the address of the real one. */
  readonly issuers: ReadonlyMap<string, string>;
  /** What stands for the host of a provider's own pages, where it is another than the issuer's. */
  readonly hostedPages: ReadonlyMap<string, string>;
  readonly database: string;
  /** Where sessions are, if not in the cookie. */
  readonly sessions?: {
    /** Host and port. */
    readonly aws: string;
    readonly here: string;
    /** The CA that its certificate here is of. */
    readonly caFile: string;
  };
  readonly bucketEndpoint: string;
  readonly credentialsEndpoint: string;
  readonly caBundleOrigin: string;
  /** Where the tasks reach the internet through a proxy of the network. */
  readonly networkProxy?: {
    readonly aws: string;
    readonly here: string;
    /** The CA that the certificates of the hosts behind it are of. */
    readonly caFile: string;
  };
  readonly volumes: string;
  /** The address that stands for the task's loopback and for its network interface. */
  readonly taskAddress: string;
  readonly programs: Program[];
  /** Whether containers get the user they declare; needs root. */
  readonly declaredUsers: boolean;
}

/** Where the server signs in to the database by IAM. */
const tokenSeconds = '3';
export const caBundleHost = 'truststore.pki.rds.amazonaws.com';
const caBundleOrigin = `https://${caBundleHost}`;

export class Substitutions {
  readonly table: Substitution[];
  private readonly publicOrigin: string;

  constructor(containers: ContainerDefinition[], databaseEndpoint: string, private readonly secrets: Secrets, private readonly there: Surroundings) {
    const proxy = plainEnvironment(containers.find(({ Environment }) => Environment?.some(({ Name }) => Name === 'OAUTH2_PROXY_REDIRECT_URL'))!);
    this.publicOrigin = new URL(proxy.OAUTH2_PROXY_REDIRECT_URL).origin;
    const mounts = new Map(containers.flatMap(({ MountPoints }) => MountPoints ?? []).map(mount => [mount.ContainerPath, mount.SourceVolume]));
    this.table = [
      // First, while 127.0.0.1 still means the loopback of the task.
      ...there.taskAddress === '127.0.0.1' ? [] : [{ what: "task's loopback", aws: '127.0.0.1', here: there.taskAddress, replaces: 'text' as const }],
      { what: 'public host and port', aws: this.publicOrigin, here: there.publicUrl, replaces: 'text' },
      ...[...there.issuers].map(([aws, here]): Substitution => ({ what: 'issuer', aws, here, replaces: 'text' })),
      ...[...there.hostedPages].map(([aws, here]): Substitution => ({ what: 'host of the sign-in pages', aws, here, replaces: 'text' })),
      { what: 'database endpoint', aws: databaseEndpoint, here: there.database, replaces: 'text' },
      ...there.sessions === undefined ? [] : [
        { what: 'store of the sessions', aws: there.sessions.aws, here: there.sessions.here, replaces: 'text' as const },
        { what: "CA of that store's certificate", aws: 'those in the image', here: `and ${there.sessions.caFile} (OAUTH2_PROXY_REDIS_CA_PATH)` },
      ],
      ...there.networkProxy === undefined ? [{ what: 'address of the CA bundle', aws: caBundleOrigin, here: there.caBundleOrigin, replaces: 'text' as const }] : [
        { what: 'proxy of the network', aws: there.networkProxy.aws, here: there.networkProxy.here, replaces: 'text' as const },
        { what: 'S3, which is reached past it', aws: `s3.${region}.amazonaws.com,`, here: `s3.${region}.amazonaws.com,127.0.0.1,`, replaces: 'text' as const },
        { what: 'CA of the hosts behind it', aws: 'those in the images', here: `${there.networkProxy.caFile} (SSL_CERT_FILE)` },
      ],
      { what: "task's network interface", aws: '0.0.0.0:', here: `${there.taskAddress}:`, replaces: 'text' },
      ...[...mounts].map(([path, volume]): Substitution => ({ what: `volume ${volume}`, aws: path, here: resolve(there.volumes, volume), replaces: 'path' })),
      { what: 'bucket endpoint', aws: `https://s3.${region}.amazonaws.com`, here: `${there.bucketEndpoint} (AWS_ENDPOINT_URL_S3)` },
      { what: 'credentials of the task role', aws: 'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI', here: `${there.credentialsEndpoint} (…_FULL_URI)` },
      ...containers.some(({ Environment }) => Environment?.some(({ Name }) => Name === 'DATABASE_TOKEN_SECONDS'))
        ? [{ what: 'seconds from one database token to the next', aws: '600', here: `${tokenSeconds} (DATABASE_TOKEN_SECONDS)` }] : [],
      { what: 'secret values', aws: 'Secrets Manager, Parameter Store', here: 'made up for this run, by the rules in the template' },
      ...[...new Set(containers.map(({ Image }) => Image))].map(image => ({ what: 'image', aws: image, here: this.program(image).here })),
      { what: 'users', aws: containers.map(({ User }) => User).join(', '), here: there.declaredUsers ? 'the same' : 'the user who runs this' },
    ];
  }

  container(definition: ContainerDefinition): Container {
    const program = this.program(definition.Image);
    const declared = Object.entries(plainEnvironment(definition)).map(([name, value]) => [name, this.apply(value)]);
    const secrets = (definition.Secrets ?? []).map(({ Name, ValueFrom }) => [Name, this.secrets.valueFrom(ValueFrom)]);
    const { HealthCheck } = definition;
    return {
      definition: {
        ...definition,
        ...HealthCheck && { HealthCheck: { ...HealthCheck, Command: HealthCheck.Command.map(word => this.apply(word)) } },
      },
      command: [...definition.EntryPoint ?? program.entryPoint, ...definition.Command ?? []].map(word => this.apply(word)),
      env: {
        PATH: program.path,
        AWS_CONTAINER_CREDENTIALS_FULL_URI: this.there.credentialsEndpoint,
        AWS_ENDPOINT_URL_S3: this.there.bucketEndpoint,
        ...Object.fromEntries([...declared, ...secrets]),
        ...this.there.networkProxy && { SSL_CERT_FILE: this.there.networkProxy.caFile },
        ...declared.some(([name]) => name === 'DATABASE_TOKEN_SECONDS') && { DATABASE_TOKEN_SECONDS: tokenSeconds },
        ...declared.some(([name]) => name === 'OAUTH2_PROXY_REDIS_CONNECTION_URL') && { OAUTH2_PROXY_REDIS_CA_PATH: this.there.sessions!.caFile },
      },
      user: this.there.declaredUsers ? parseUser(definition.User) : undefined,
    };
  }

  apply(value: string): string {
    return this.table.reduce((text, { aws, here, replaces }) => {
      switch (replaces) {
        case 'text': return text.replaceAll(aws, here);
        case 'path': return text === aws || text.startsWith(`${aws}/`) ? here + text.slice(aws.length) : text;
        default: return text;
      }
    }, value);
  }

  /** In an address of the server that takes others along, percent-encoded: the provider's pages, and within them the server. None is one of the task. */
  applyEncoded(address: string): string {
    const twice = (text: string) => encodeURIComponent(encodeURIComponent(text));
    return [...this.there.hostedPages]
      .reduce((text, [aws, here]) => text.replaceAll(encodeURIComponent(`https://${aws}`), encodeURIComponent(`http://${here}`)), address)
      .replaceAll(this.publicOrigin, this.there.publicUrl)
      .replaceAll(twice(this.publicOrigin), twice(this.there.publicUrl));
  }

  private program(image: string): Program {
    const program = this.there.programs.find(candidate => image.startsWith(`${candidate.image}:`));
    if (program === undefined) {
      throw new Error(`there is no program here that stands for the image ${image}`);
    }
    return program;
  }
}

export function plainEnvironment(definition: ContainerDefinition): Record<string, string> {
  return Object.fromEntries((definition.Environment ?? []).map(({ Name, Value }) => [Name, Value]));
}

export function parseUser(text: string | undefined): User | undefined {
  if (text === undefined) {
    return undefined;
  }
  const [uid, gid] = text.split(':').map(Number);
  return { uid, gid };
}
