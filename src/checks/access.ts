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

/** Problems of `access` that do not depend on the provider. */
export function accessProblems({ access, environment = {} }: SecureMlflowProps): string[] {
  if (access === undefined) {
    return [];
  }
  if (typeof access !== 'object' || access === null) { // callers without types may pass true or false
    return [`\`access\` must be an object with \`admins\`, got ${show(access)}: list the admins, or leave it out, and everybody who gets in is an admin`];
  }
  const jobs = environment.MLFLOW_SERVER_ENABLE_JOB_EXECUTION;
  return [
    ...keyProblems('access', access, [...LISTS.map(([list]) => list), 'everybody', 'machines']),
    ...levelProblems('access.everybody', access.everybody, LEVELS, '; for single people and groups use `admins`, `editors` and `readers`'),
    ...levelProblems('access.machines', access.machines, LEVELS, '; for single machines use `machines` of a list'),
    ...adminProblems(access.admins),
    ...LISTS.flatMap(([list, level]) => listProblems(`access.${list}`, level, access[list], access.everybody)),
    ...known(jobs) && /^(true|1)$/i.test(jobs)
      ? [`\`environment\` must not turn on MLFLOW_SERVER_ENABLE_JOB_EXECUTION where \`access\` is given, got ${show(jobs)}: jobs call the server without a sign-in and therefore without a level, and are rejected; leave one of them out`]
      : [],
  ];
}

/** Problems of `access` with this provider, and of its people and machines. */
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

/** Problems of the level that a role is granted. */
export function grantProblems(roleArn: string, options: TrackingAccessOptions, access?: AccessOptions): string[] {
  if (typeof options !== 'object' || options === null) { // callers without types may pass the level itself
    return [`the options of grantTrackingAccess must be an object, got ${show(options)}: pass { level: … }`];
  }
  const { level } = options;
  if (access === undefined) {
    return level === undefined ? [] : [`\`level\` of grantTrackingAccess needs the prop \`access\`, got ${show(level)} without it: set at least \`access.admins\`, or leave the level out`];
  }
  const listed = LISTS.some(([list]) => access[list]?.machines?.includes(roleArn));
  if (level === undefined && access.machines === AccessLevel.NONE && !listed) {
    return [`\`level\` of grantTrackingAccess must be given where \`access.machines\` is "none", got no value: the role would have no access; use ${allowed(GRANTED)}`];
  }
  return levelProblems('level', level, GRANTED, '', ' of grantTrackingAccess');
}

/** Levels that may be granted. NONE may not: it would look like a restriction, and a role without access needs no grant. */
const GRANTED = LEVELS.filter(level => level !== AccessLevel.NONE);

function levelProblems(name: string, level: AccessLevel | undefined, levels: AccessLevel[], more: string, of = ''): string[] {
  return level === undefined || levels.includes(level) ? []
    : [`\`${name}\`${of} must be ${allowed(levels)}, got ${Token.isUnresolved(level) ? 'a CDK token' : show(level)}: use a value of \`AccessLevel\`${more}`];
}

/** Unknown keys of callers without types: a misspelled key would be ignored. */
function keyProblems(name: string, value: object, keys: readonly string[]): string[] {
  return Object.keys(value).filter(key => !keys.includes(key)).map(key => `\`${name}\` must contain only ${keys.join(', ')}, got ${show(key)}: use one of these names`);
}

function allowed(levels: AccessLevel[]): string {
  return `${levels.slice(0, -1).map(show).join(', ')} or ${show(levels.at(-1))}`;
}

function adminProblems(admins?: AccessMembers): string[] {
  return admins?.groups !== undefined || admins?.people !== undefined ? []
    : [`\`access.admins\` must contain at least one group or person, got ${show(admins ?? {})}: only admins can delete experiments and models, and manage webhooks and keys; add \`people\` or \`groups\``];
}

function listProblems(name: string, level: AccessLevel, members: AccessMembers | undefined, everybody: AccessLevel = DEFAULT_EVERYBODY): string[] {
  if (members === undefined) {
    return [];
  }
  if (typeof members !== 'object' || members === null) {
    return [`\`${name}\` must be an object with \`groups\`, \`people\` or \`machines\`, got ${show(members)}: add one of them, or leave it out`];
  }
  const { groups, people, machines } = members;
  const problems = [...keyProblems(name, members, KINDS), ...KINDS.flatMap(kind => entryProblems(`${name}.${kind}`, members[kind], ENTRIES[kind]))];
  if (groups === undefined && people === undefined && machines === undefined && level !== AccessLevel.ADMIN) {
    problems.push(`\`${name}\` must contain \`groups\`, \`people\` or \`machines\`, got ${show(members)}: add one of them, or leave it out`);
  }
  if ((groups !== undefined || people !== undefined) && LEVELS.includes(everybody) && isAbove(everybody, level)) {
    problems.push(`\`${name}\` must not have a lower level than \`access.everybody\`, got groups or people where that is ${show(everybody)}: the list would have no effect; leave out its \`groups\` and \`people\`, or lower \`everybody\``);
  }
  return problems;
}

/** What an entry must be, and what to do about an invalid one. */
type Rule = readonly [isRight: (entry: string) => boolean, must: string, todo: string];

const ENTRIES: Record<typeof KINDS[number], Rule> = {
  groups: [
    entry => entry !== '' && entry !== '*' && entry === entry.trim() && !/[,\p{Cc}]/u.test(entry),
    'a name without commas, control characters and surrounding blanks',
    'oauth2-proxy joins groups with commas and trims them, so the name would mean another group; use the name that /oauth2/userinfo shows, or `everybody` for all people',
  ],
  people: [
    entry => /^[^\s@,"*]+@[^\s@,"*]+\.[^\s@,".*]+$/.test(entry),
    'an e-mail address',
    'for a group use `groups`, for a program `machines`, for all people `everybody`',
  ],
  machines: [entry => entry !== '', 'an exact subject', 'use an entry of `machineIdentities`'], // `machineIdentities` has its own rules
};

function entryProblems(name: string, entries: string[] | undefined, [isRight, must, todo]: Rule): string[] {
  if (entries === undefined) {
    return [];
  }
  if (Token.isUnresolved(entries)) { // JSON cannot contain a list of unknown length
    return [`\`${name}\` must be a list that is written out, got a CDK token: the entries may be CDK tokens, the list itself may not`];
  }
  if (!Array.isArray(entries)) {
    return [`\`${name}\` must be a list, got ${show(entries)}: write [${show(entries)}]`];
  }
  if (entries.length === 0) {
    return [`\`${name}\` must contain at least one entry, got []: leave it out for none`];
  }
  const wrong = entries.filter(entry => typeof entry !== 'string' || known(entry) && !isRight(entry));
  return wrong.map(entry => `\`${name}\`: each entry must be ${must}, got ${show(entry)}: ${typeof entry === 'string' ? todo : 'it is not a string; an environment variable may not be set'}`);
}

function groupProblems(name: string, groups: string[] | undefined, { groups: sent, environment }: AuthProviderConfig): string[] {
  if (groups === undefined) {
    return [];
  }
  if (sent === false) {
    return [`\`${name}\` must be left out with this \`authProvider\`, whose ID tokens and sign-ins contain no groups, got ${show(groups)}: list \`people\``];
  }
  const { OAUTH2_PROXY_PROVIDER: kind, OAUTH2_PROXY_GITHUB_ORG: organization } = environment;
  return kind !== 'github' || isUnjudged(organization) ? [] : groups.filter(group => known(group) && !group.includes(':') && group !== organization)
    .map(group => `\`${name}\`: each entry must be "organization:team" with GitHub${organization === undefined ? '' : `, or ${show(organization)}`}, got ${show(group)}: anyone can create an organization with any unused name; use the slug of a team, or the \`organization\` of \`AuthProvider.github\``);
}

/** People whose address can never sign in. */
function outsiderProblems(name: string, people: string[] = [], props: SecureMlflowProps, provider: AuthProviderConfig): string[] {
  const { emailDomains, machineIdentities = [] } = props;
  if (emailDomains.includes('*') || [emailDomains, machineIdentities].some(isUnjudgedList)) {
    return [];
  }
  const machines = lowerCase([...machineIdentities, ...provider.machineIdentities ?? []]);
  const domainOf = (person: string) => person.toLowerCase().split('@').at(-1)!;
  const outside = people.filter(person => known(person) && !emailDomains.includes(domainOf(person)) && !machines.includes(person.toLowerCase()));
  return outside.map(person => `\`${name}\`: each address must be in \`emailDomains\`, got ${show(person)} and the domains ${show(emailDomains)}: this person cannot sign in; add the domain, or leave the address out`);
}

/** Machines on a list that are not known as machines, so the list would have no effect. */
function unlistedProblems(name: string, machines: string[] = [], props: SecureMlflowProps, provider: AuthProviderConfig): string[] {
  const { machineIdentities = [] } = props;
  if (isUnjudgedList(machineIdentities)) {
    return [];
  }
  const listed = lowerCase([...machineIdentities, ...provider.machineIdentities ?? []]);
  return machines.filter(machine => known(machine) && !listed.includes(machine.toLowerCase()))
    .map(machine => `\`${name}\`: each entry must be one of \`machineIdentities\`, got ${show(machine)}: ${machine.includes('@') ? 'for a person use `people`; add a machine to `machineIdentities`, too' : 'add it to `machineIdentities`, too'}; for a machine client of Cognito use \`machineClientId(…)\` of its provider, for an AWS role the \`level\` of \`grantTrackingAccess\``);
}

function isUnjudged(value: string | undefined): boolean {
  return value !== undefined && !known(value);
}

function isUnjudgedList(entries: string[]): boolean {
  return !known(entries) || entries.some(isUnjudged);
}

/** CDK tokens are kept as they are, because lower case would break them. */
function lowerCase(entries: string[]): string[] {
  return entries.map(entry => known(entry) ? entry.toLowerCase() : entry);
}

/** Warnings about levels that other people can choose, and about levels that no person gets. */
export function warningsAboutAccess(props: SecureMlflowProps, { groups: sent, environment }: AuthProviderConfig): Warnings {
  const { access, trustedTokenIssuers = [] } = props;
  const groups = namesGroups(access);
  const people = LISTS.some(([list]) => access?.[list]?.people !== undefined);
  const issuers = trustedTokenIssuers.map(({ issuerUrl }) => issuerUrl).filter(url => !isGoogle(url) && !isAwsAccount(url)); // their tokens contain no groups
  const { OAUTH2_PROXY_PROVIDER: kind, OAUTH2_PROXY_OIDC_EMAIL_CLAIM: emailClaim = 'email' } = environment;
  const names = LISTS.flatMap(([list]) => access?.[list]?.groups ?? []).filter(group => known(group) && !/^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/i.test(group));
  return {
    ...(kind === 'entra-id' && names.length > 0 && {
      entraGroupNames: `\`access\` contains the group names ${names.map(name => show(name)).join(', ')}, but Entra ID sends object ids unless the app registration is set up to send names: use the object id of each group`,
    }),
    ...(groups && issuers.length > 0 && {
      issuersNameGroups: `\`access\` contains groups and \`trustedTokenIssuers\` contains ${issuers.filter(known).join(', ') || 'issuers'}, whose tokens may contain any group, including those of admins: make sure that they contain only groups that you control, or use only \`people\` and \`machines\``,
    }),
    ...(groups && sent === undefined && {
      unknownGroups: '`access` contains groups, but `authProvider` may send none, and then no person is in a group: have the provider put groups into the ID tokens, and set `groupsClaim` of `AuthProvider.oidc`, which ends this warning, or return `groups: true` from your own provider; /oauth2/userinfo shows which groups arrive',
    }),
    // In Entra ID, administrators set the names of members: docs/sign-in-entra-id.md.
    ...(people && emailClaim !== 'email' && known(emailClaim) && kind !== 'entra-id' && {
      unverifiedLevels: `\`access\` identifies people by the claim \`${emailClaim}\`, which oauth2-proxy does not check, so a person who can choose the claim can get the level of another person: make sure that people can neither choose nor change it, or use only groups`,
    }),
  };
}
