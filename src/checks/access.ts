import { Token } from 'aws-cdk-lib';
import { known, show } from './problems';
import type { Warnings } from './warnings';
import { AccessLevel, AccessMembers, AccessOptions, TrackingAccessOptions } from '../access';
import type { AuthProviderConfig } from '../auth/config';
import { isAwsAccount, isGoogle } from '../auth/public-issuers';
import { DEFAULT_EVERYBODY } from '../defaults';
import type { SecureMlflowProps } from '../props';
import { isAbove, LEVELS, LISTS, namesGroups } from '../settings/access';

const KINDS = ['groups', 'people', 'machines'] as const;

/** What is wrong with `access` by itself. */
export function accessProblems({ access, environment = {} }: SecureMlflowProps): string[] {
  if (access === undefined) {
    return [];
  }
  if (typeof access !== 'object' || access === null) { // callers without types mean all of it, or nothing
    return [`\`access\` must be an object with \`admins\`, got ${show(access)}: name who is an admin, or leave it out, and everybody who gets in is one`];
  }
  const jobs = environment.MLFLOW_SERVER_ENABLE_JOB_EXECUTION;
  return [
    ...keyProblems('access', access, [...LISTS.map(([list]) => list), 'everybody', 'machines']),
    ...levelProblems('access.everybody', access.everybody, LEVELS, '; for single people and groups there are `admins`, `editors` and `readers`'),
    ...levelProblems('access.machines', access.machines, LEVELS, '; single machines are named in `machines` of a list'),
    ...adminProblems(access.admins),
    ...LISTS.flatMap(([list, level]) => listProblems(`access.${list}`, level, access[list], access.everybody)),
    ...known(jobs) && /^(true|1)$/i.test(jobs)
      ? [`\`environment\` must not switch on MLFLOW_SERVER_ENABLE_JOB_EXECUTION where \`access\` is given, got ${show(jobs)}: jobs call the server without a sign-in, and so without a level, and are refused; leave one of them out`]
      : [],
  ];
}

/** What is wrong with `access` for this provider, and with whom it names. */
export function accessProviderProblems(props: SecureMlflowProps, provider: AuthProviderConfig): string[] {
  const { access } = props;
  return access === undefined ? [] : LISTS.flatMap(([list]) => {
    const { groups, people, machines } = access[list] ?? {};
    return [
      ...groupProblems(`access.${list}.groups`, groups, provider),
      ...outsiderProblems(`access.${list}.people`, people, props, provider),
      ...unlistedProblems(`access.${list}.machines`, machines, props, provider),
    ];
  });
}

/** What is wrong with the level that a role is granted. */
export function grantProblems(roleArn: string, options: TrackingAccessOptions, access?: AccessOptions): string[] {
  if (typeof options !== 'object' || options === null) { // callers without types pass the level itself
    return [`the options of grantTrackingAccess must be an object, got ${show(options)}: pass { level: … }`];
  }
  const { level } = options;
  if (access === undefined) {
    return level === undefined ? [] : [`\`level\` of grantTrackingAccess needs \`access\` among the props, got ${show(level)} without: name at least \`access.admins\`, or leave the level out`];
  }
  const listed = LISTS.some(([list]) => access[list]?.machines?.includes(roleArn));
  if (level === undefined && access.machines === AccessLevel.NONE && !listed) {
    return [`\`level\` of grantTrackingAccess must be given where \`access.machines\` is "none", got nothing: the role could do nothing; name ${allowed(GRANTED)}`];
  }
  return levelProblems('level', level, GRANTED, '', ' of grantTrackingAccess');
}

/** Those that may be granted: none would look like a restriction, and a role that may do nothing needs no grant. */
const GRANTED = LEVELS.filter(level => level !== AccessLevel.NONE);

function levelProblems(name: string, level: AccessLevel | undefined, levels: AccessLevel[], more: string, of = ''): string[] {
  return level === undefined || levels.includes(level) ? []
    : [`\`${name}\`${of} must be ${allowed(levels)}, got ${Token.isUnresolved(level) ? 'a CDK token' : show(level)}: use a value of \`AccessLevel\`${more}`];
}

/** Of callers without types: what is misspelt would be ignored. */
function keyProblems(name: string, value: object, keys: readonly string[]): string[] {
  return Object.keys(value).filter(key => !keys.includes(key)).map(key => `\`${name}\` must hold nothing but ${keys.join(', ')}, got ${show(key)}: use one of these names`);
}

function allowed(levels: AccessLevel[]): string {
  return `${levels.slice(0, -1).map(show).join(', ')} or ${show(levels.at(-1))}`;
}

function adminProblems(admins?: AccessMembers): string[] {
  return admins?.groups !== undefined || admins?.people !== undefined ? []
    : [`\`access.admins\` must name at least one group or person, got ${show(admins ?? {})}: experiments and models are deleted, webhooks and keys managed by admins alone; add \`people\` or \`groups\``];
}

function listProblems(name: string, level: AccessLevel, members: AccessMembers | undefined, everybody: AccessLevel = DEFAULT_EVERYBODY): string[] {
  if (members === undefined) {
    return [];
  }
  if (typeof members !== 'object' || members === null) {
    return [`\`${name}\` must be an object with \`groups\`, \`people\` or \`machines\`, got ${show(members)}: name some, or leave it out`];
  }
  const { groups, people, machines } = members;
  const problems = [...keyProblems(name, members, KINDS), ...KINDS.flatMap(kind => entryProblems(`${name}.${kind}`, members[kind], ENTRIES[kind]))];
  if (groups === undefined && people === undefined && machines === undefined && level !== AccessLevel.ADMIN) {
    problems.push(`\`${name}\` must hold \`groups\`, \`people\` or \`machines\`, got ${show(members)}: name some, or leave it out`);
  }
  if ((groups !== undefined || people !== undefined) && LEVELS.includes(everybody) && isAbove(everybody, level)) {
    problems.push(`\`${name}\` must not be below \`access.everybody\`, got groups or people where that is ${show(everybody)}: the list would have no effect; leave out its \`groups\` and \`people\`, or lower \`everybody\``);
  }
  return problems;
}

/** What an entry must be, and what to do about one that is not. */
type Rule = readonly [isRight: (entry: string) => boolean, must: string, todo: string];

const ENTRIES: Record<typeof KINDS[number], Rule> = {
  groups: [
    entry => entry !== '' && entry !== '*' && entry === entry.trim() && !/[,\p{Cc}]/u.test(entry),
    'a name without commas, control characters and blanks around it',
    'oauth2-proxy joins groups with commas and trims them, so it would be another group; use the name that /oauth2/userinfo shows, and `everybody` for all',
  ],
  people: [
    entry => /^[^\s@,"*]+@[^\s@,"*]+\.[^\s@,".*]+$/.test(entry),
    'an e-mail address',
    'for a group use `groups`, for a program `machines`, for all `everybody`',
  ],
  machines: [entry => entry !== '', 'an exact subject', 'use an entry of `machineIdentities`'], // which has more rules
};

function entryProblems(name: string, entries: string[] | undefined, [isRight, must, todo]: Rule): string[] {
  if (entries === undefined) {
    return [];
  }
  if (Token.isUnresolved(entries)) { // JSON cannot hold a list of which not even the length is known
    return [`\`${name}\` must be a list that is written out, got a CDK token: its entries may be tokens, the list itself may not`];
  }
  if (!Array.isArray(entries)) {
    return [`\`${name}\` must be a list, got ${show(entries)}: write [${show(entries)}]`];
  }
  if (entries.length === 0) {
    return [`\`${name}\` must contain at least one entry, got []: leave it out for none`];
  }
  const wrong = entries.filter(entry => typeof entry !== 'string' || known(entry) && !isRight(entry));
  return wrong.map(entry => `\`${name}\`: each entry must be ${must}, got ${show(entry)}: ${typeof entry === 'string' ? todo : 'it is no text; perhaps an environment variable is not set'}`);
}

function groupProblems(name: string, groups: string[] | undefined, { groups: sent, environment }: AuthProviderConfig): string[] {
  if (groups === undefined) {
    return [];
  }
  if (sent === false) {
    return [`\`${name}\` must be left out with this \`authProvider\`, whose tokens and sign-ins name no groups, got ${show(groups)}: name \`people\``];
  }
  const { OAUTH2_PROXY_PROVIDER: kind, OAUTH2_PROXY_GITHUB_ORG: organization } = environment;
  return kind !== 'github' || isUnjudged(organization) ? [] : groups.filter(group => known(group) && !group.includes(':') && group !== organization)
    .map(group => `\`${name}\`: each entry must be "organization:team" with GitHub${organization === undefined ? '' : `, or ${show(organization)}`}, got ${show(group)}: anybody can found an organization of any name that is free; use the slug of a team, or the \`organization\` of \`AuthProvider.github\``);
}

/** People whose address can never get in. */
function outsiderProblems(name: string, people: string[] = [], props: SecureMlflowProps, provider: AuthProviderConfig): string[] {
  const { emailDomains, machineIdentities = [] } = props;
  if (emailDomains.includes('*') || [emailDomains, machineIdentities].some(isUnjudgedList)) {
    return [];
  }
  const machines = lowerCase([...machineIdentities, ...provider.machineIdentities ?? []]);
  const domainOf = (person: string) => person.toLowerCase().split('@').at(-1)!;
  const outside = people.filter(person => known(person) && !emailDomains.includes(domainOf(person)) && !machines.includes(person.toLowerCase()));
  return outside.map(person => `\`${name}\`: each address must be in \`emailDomains\`, got ${show(person)} where these are ${show(emailDomains)}: this person cannot sign in; add the domain, or leave the address out`);
}

/** Machines that would have the level of `machines` all the same. */
function unlistedProblems(name: string, machines: string[] = [], props: SecureMlflowProps, provider: AuthProviderConfig): string[] {
  const { machineIdentities = [] } = props;
  if (isUnjudgedList(machineIdentities)) {
    return [];
  }
  const listed = lowerCase([...machineIdentities, ...provider.machineIdentities ?? []]);
  return machines.filter(machine => known(machine) && !listed.includes(machine.toLowerCase()))
    .map(machine => `\`${name}\`: each entry must be one of \`machineIdentities\`, got ${show(machine)}: ${machine.includes('@') ? 'for a person use `people`; a machine must be there, too' : 'add it there, too'}; for a machine client of Cognito use \`machineClientId(…)\` of its provider, for an AWS role the \`level\` of \`grantTrackingAccess\``);
}

function isUnjudged(value: string | undefined): boolean {
  return value !== undefined && !known(value);
}

function isUnjudgedList(entries: string[]): boolean {
  return !known(entries) || entries.some(isUnjudged);
}

/** Tokens stay as they are: another letter would make them text. */
function lowerCase(entries: string[]): string[] {
  return entries.map(entry => known(entry) ? entry.toLowerCase() : entry);
}

/** Warnings about levels that somebody else decides, or nobody gets. */
export function warningsAboutAccess(props: SecureMlflowProps, { groups: sent, environment }: AuthProviderConfig): Warnings {
  const { access, trustedTokenIssuers = [] } = props;
  const groups = namesGroups(access);
  const people = LISTS.some(([list]) => access?.[list]?.people !== undefined);
  const issuers = trustedTokenIssuers.map(({ issuerUrl }) => issuerUrl).filter(url => !isGoogle(url) && !isAwsAccount(url)); // whose tokens name none
  const { OAUTH2_PROXY_PROVIDER: kind, OAUTH2_PROXY_OIDC_EMAIL_CLAIM: emailClaim = 'email' } = environment;
  const names = LISTS.flatMap(([list]) => access?.[list]?.groups ?? []).filter(group => known(group) && !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(group));
  return {
    ...(kind === 'entra-id' && names.length > 0 && {
      entraGroupNames: `\`access\` names groups by ${names.map(name => show(name)).join(', ')}, and Entra ID sends object ids unless the app registration is set up to send names: use the object id of each group`,
    }),
    ...(groups && issuers.length > 0 && {
      issuersNameGroups: `\`access\` names groups and \`trustedTokenIssuers\` holds ${issuers.filter(known).join(', ') || 'issuers'}, whose tokens may name any group, those of admins included: see to it that they name only groups that you decide on, or name \`people\` and \`machines\` alone`,
    }),
    ...(groups && sent === undefined && {
      unknownGroups: '`access` names groups, and `authProvider` may send none, so that nobody would be in one: have it put them into the ID tokens, and name their claim by `groupsClaim` of `AuthProvider.oidc`, which ends this warning, or say `groups: true` in what a provider of your own returns; /oauth2/userinfo shows what arrives',
    }),
    // In Entra ID administrators set the names of members: docs/sign-in-entra-id.md.
    ...(people && emailClaim !== 'email' && known(emailClaim) && kind !== 'entra-id' && {
      unverifiedLevels: `\`access\` names people by the claim \`${emailClaim}\`, which oauth2-proxy takes as it stands, so whoever can choose that claim can take the level of another person: see to it that people can neither choose nor change it, or name groups alone`,
    }),
  };
}
