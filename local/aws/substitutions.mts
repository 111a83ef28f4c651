/** The table of all differences from AWS. Nothing else in the synthesised task is changed. */

import { resolve } from 'node:path';
import type { Container, ContainerDefinition } from './ecs.mjs';
import type { User } from '../processes.mjs';
import type { Secrets } from './secrets.mjs';
import type { Mount } from '../worlds/container.mjs';
import type { Settings, Site } from '../worlds/world.mjs';

interface Substitution {
  readonly what: string;
  readonly aws: string;
  readonly here: string;
  /** `text`: replaced everywhere in a setting. `path`: replaced at the beginning of a setting. */
  readonly replaces?: 'text' | 'path';
}

/** A program that stands in for an image. */
export interface Program {
  readonly image: string;
  /** The image's entry point. */
  readonly entryPoint: string[];
  /** The image's PATH. */
  readonly path: string;
  readonly here: string;
  /** Files of this machine that the container gets. */
  readonly mounts: readonly Mount[];
  /** Its lists of certification authorities. */
  readonly trust: readonly string[];
}

/** The stand-ins for AWS in this run. */
export interface Surroundings {
  readonly verbatim: boolean;
  readonly region: string;
  readonly publicSite: Site;
  readonly issuers: readonly Site[];
  /** The provider's own pages, if they are on another host than the issuer. */
  readonly hostedPages: readonly Pick<Site, 'aws' | 'here'>[];
  readonly database: Site;
  /** Only if sessions are on the server. */
  readonly sessions?: Site;
  readonly s3: Site;
  readonly credentialsEndpoint: string;
  readonly caBundle: Site;
  /** Only if the tasks reach the internet through a proxy of the network. */
  readonly networkProxy?: Site;
  /** The certificate of this run's certification authority. */
  readonly caFile: string;
  readonly volumes: string;
  /** The address that stands in for the task's loopback and its network interface. */
  readonly taskAddress: string;
  readonly programs: readonly Program[];
  /** Whether containers get the user they declare; needs root. */
  readonly declaredUsers: boolean;
  /** Settings that a check changes. */
  readonly settings?: Settings;
}


export class Substitutions {
  readonly table: Substitution[];

  constructor(containers: ContainerDefinition[], private readonly secrets: Secrets, private readonly there: Surroundings) {
    const images = [...new Set(containers.map(({ Image }) => Image))].map(image => ({ what: 'image', aws: image, here: this.program(image).here }));
    const hasty = Object.entries(there.settings ?? {}).map(([name, here]) => (
      { what: `${name}, shorter for a check`, aws: containers.map(container => plainEnvironment(container)[name]).find(Boolean)!, here }
    ));
    this.table = [...there.verbatim ? [] : this.changes(containers), ...hasty, ...images];
  }

  private changes(containers: ContainerDefinition[]): Substitution[] {
    const { region, publicSite, issuers, hostedPages, database, sessions, s3, caBundle, networkProxy, caFile, taskAddress } = this.there;
    const mounts = new Map(containers.flatMap(({ MountPoints }) => MountPoints ?? []).map(mount => [mount.ContainerPath, mount.SourceVolume]));
    const text = ({ what, aws, here }: Pick<Site, 'what' | 'aws' | 'here'>): Substitution => ({ what, aws, here, replaces: 'text' });
    return [
      // First, while 127.0.0.1 still means the loopback of the task.
      ...taskAddress === '127.0.0.1' ? [] : [{ what: "task's loopback", aws: '127.0.0.1', here: taskAddress, replaces: 'text' as const }],
      ...[publicSite, ...issuers].map(text),
      ...hostedPages.map(pages => text({ what: 'host of the sign-in pages', ...pages })),
      text(database),
      ...sessions === undefined ? [] : [text(sessions), { what: "CA of that store's certificate", aws: 'those in the image', here: `and ${caFile} (OAUTH2_PROXY_REDIS_CA_PATH)` }],
      ...networkProxy === undefined ? [text(caBundle)] : [
        text(networkProxy),
        { what: 'S3, which is reached without the proxy', aws: `s3.${region}.amazonaws.com,`, here: `s3.${region}.amazonaws.com,127.0.0.1,`, replaces: 'text' as const },
        { what: 'CA of the hosts behind the proxy', aws: 'those in the images', here: `${caFile} (SSL_CERT_FILE)` },
      ],
      { what: "task's network interface", aws: '0.0.0.0:', here: `${taskAddress}:`, replaces: 'text' },
      ...[...mounts].map(([path, volume]): Substitution => ({ what: `volume ${volume}`, aws: path, here: resolve(this.there.volumes, volume), replaces: 'path' })),
      { what: s3.what, aws: s3.aws, here: `${s3.here} (AWS_ENDPOINT_URL_S3)` },
      { what: 'credentials of the task role', aws: 'AWS_CONTAINER_CREDENTIALS_RELATIVE_URI', here: `${this.there.credentialsEndpoint} (…_FULL_URI)` },
      { what: 'secret values', aws: 'Secrets Manager, Parameter Store', here: 'random for this run, by the rules in the template' },
      { what: 'users', aws: containers.map(({ User }) => User).join(', '), here: this.there.declaredUsers ? 'the same' : 'the user who runs this' },
    ];
  }

  container(definition: ContainerDefinition): Container {
    const program = this.program(definition.Image);
    const declared = Object.entries(plainEnvironment(definition)).map(([name, value]) => [name, this.apply(value)]);
    const secrets = (definition.Secrets ?? []).map(({ Name, ValueFrom }) => [Name, this.secrets.valueFrom(ValueFrom)]);
    const { HealthCheck, EntryPoint, Command = [] } = definition;
    const words = (texts: readonly string[]) => texts.map(word => this.apply(word));
    return {
      definition: {
        ...definition,
        ...HealthCheck && { HealthCheck: { ...HealthCheck, Command: words(HealthCheck.Command) } },
      },
      command: [...EntryPoint === undefined ? program.entryPoint : words(EntryPoint), ...words(Command)],
      env: {
        PATH: program.path,
        ...this.there.verbatim ? { AWS_CONTAINER_CREDENTIALS_RELATIVE_URI: this.there.credentialsEndpoint } : {
          AWS_CONTAINER_CREDENTIALS_FULL_URI: this.there.credentialsEndpoint, AWS_ENDPOINT_URL_S3: this.there.s3.here,
        },
        ...Object.fromEntries([...declared, ...secrets]),
        ...this.there.verbatim ? {} : this.changedSettings(declared.map(([name]) => name)),
        ...Object.fromEntries(Object.entries(this.there.settings ?? {}).filter(([name]) => declared.some(([known]) => known === name))),
      },
      user: this.there.declaredUsers ? parseUser(definition.User) : undefined,
    };
  }

  private changedSettings(names: readonly string[]): Record<string, string> {
    const { networkProxy, caFile } = this.there;
    return {
      ...networkProxy && { SSL_CERT_FILE: caFile },
      ...names.includes('OAUTH2_PROXY_REDIS_CONNECTION_URL') && { OAUTH2_PROXY_REDIS_CA_PATH: caFile },
    };
  }

  apply(value: string): string {
    const text = this.table.filter(({ replaces }) => replaces === 'text').reduce((replaced, { aws, here }) => replaced.replaceAll(aws, here), value);
    // Only one is replaced, and once, because the new path may begin with the path of another volume.
    const volume = this.table.find(({ aws, replaces }) => replaces === 'path' && (text === aws || text.startsWith(`${aws}/`)));
    return volume === undefined ? text : volume.here + text.slice(volume.aws.length);
  }

  /** Replaces URLs inside a URL of the server, where they are percent-encoded: the provider's pages, and within them the server. */
  applyEncoded(address: string): string {
    const { verbatim, hostedPages, publicSite: { aws, here } } = this.there;
    if (verbatim) {
      return address;
    }
    const twice = (text: string) => encodeURIComponent(encodeURIComponent(text));
    return hostedPages
      .reduce((text, pages) => text.replaceAll(encodeURIComponent(`https://${pages.aws}`), encodeURIComponent(`http://${pages.here}`)), address)
      .replaceAll(aws, here)
      .replaceAll(twice(aws), twice(here));
  }

  private program(image: string): Program {
    const program = this.there.programs.find(candidate => image.startsWith(`${candidate.image}:`));
    if (program === undefined) {
      throw new Error(`no program on this machine stands in for the image ${image}`);
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
