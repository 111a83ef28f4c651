import { Fn, RemovalPolicy, SecretValue, Stack, Token } from 'aws-cdk-lib';
import * as cognito from 'aws-cdk-lib/aws-cognito';
import { Secret } from 'aws-cdk-lib/aws-ecs';
import * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import { Construct } from 'constructs';
import type { AuthProviderBindOptions, AuthProviderConfig } from './config';
import { DEFAULT_SCOPE, escapedUrl, openTo, requireList } from './rules';
import { toolsClient, toolsRedirectUrls } from './tools';
import { isStandIn, known } from '../checks/problems';
import { allowList } from '../settings/allow-list';

/** The user pool and clients of `AuthProvider.cognito`. */
export interface CognitoAuthProviderOptions {
  /**
   * User pool with the accounts, of the account and region of the stack. It gets a client and, without `userPoolDomain`, a domain; nothing else of it is changed.
   *
   * @default - a new one without self sign-up, which stays when the stack is deleted
   */
  readonly userPool?: cognito.IUserPool;

  /**
   * Domain that `userPool` has already. A pool has one for prefixes: where it is taken, a second one fails to deploy.
   *
   * @default - a new one, with `domainPrefix`
   */
  readonly userPoolDomain?: cognito.IUserPoolDomain;

  /**
   * What the address of the sign-in page begins with: `https://<domainPrefix>.auth.<region>.amazoncognito.com`. Nobody else in the region may have it.
   *
   * @default - the domain name of the server with dashes for dots, such as `mlflow-example-com`
   */
  readonly domainPrefix?: string;

  /**
   * Where people of the pool may sign in. Name them for a pool that passes people on to the company's own provider.
   *
   * @default - accounts of the pool, and the identity providers that this app has added to it
   */
  readonly identityProviders?: cognito.UserPoolClientIdentityProvider[];

  /**
   * Groups of the pool that may enter; one of them is enough. They narrow `emailDomains`, they do not replace it. Not together with `machineClients`.
   *
   * @default - everybody in the pool
   */
  readonly allowedGroups?: string[];

  /**
   * Names of programs, such as `training`. Each gets an OAuth client for the client-credentials flow and a secret with what it needs to ask for tokens: `machineClientSecret(name)`.
   *
   * @default - none
   */
  readonly machineClients?: string[];
}

export interface Cognito {
  readonly userPool: cognito.IUserPool;
  /** By the name of the machine client, as the secrets. */
  readonly machineIds: Map<string, string>;
  readonly machineSecrets: Map<string, secretsmanager.ISecret>;
  readonly config: AuthProviderConfig;
}

/** Throws if the options contradict each other, or a prefix, a group or a name cannot work. */
export function checkCognito(options: CognitoAuthProviderOptions): void {
  const { userPool, userPoolDomain, domainPrefix, allowedGroups, machineClients } = options;
  if (userPoolDomain !== undefined && userPool === undefined) {
    throw new Error(`AuthProvider.cognito: \`userPoolDomain\` needs \`userPool\`, got the domain ${JSON.stringify(userPoolDomain.domainName)} alone: pass the pool that it belongs to`);
  }
  if (userPoolDomain !== undefined && domainPrefix !== undefined) {
    throw new Error(`AuthProvider.cognito: \`domainPrefix\` must be left out where \`userPoolDomain\` is given, got ${JSON.stringify(domainPrefix)}: it is about the domain that would be made`);
  }
  if (domainPrefix !== undefined) {
    refuseBadPrefix('got', domainPrefix);
  }
  requireList('AuthProvider.cognito: `allowedGroups`', allowedGroups);
  refuseBadNames(machineClients);
  if (allowedGroups !== undefined && machineClients !== undefined) {
    throw new Error(`AuthProvider.cognito: \`allowedGroups\` must be left out where \`machineClients\` is given, got ${JSON.stringify(allowedGroups)}: tokens of machine clients hold no groups and would be refused; let the pool hold only people who may enter, or give programs \`grantTrackingAccess\` in place of \`machineClients\``);
  }
}

/** Defines the client for people and those of `machineClients`, and the pool and its domain where they are not brought. */
export function defineCognito(scope: Construct, options: CognitoAuthProviderOptions, deployment: AuthProviderBindOptions): Cognito {
  const { allowedGroups, identityProviders, machineClients = [] } = options;
  const { url, redirectUrl, encryptionKey } = deployment;
  const domainPrefix = options.userPoolDomain === undefined ? options.domainPrefix ?? prefixFrom(url) : undefined;

  const [region, poolRegion] = [Stack.of(scope).region, options.userPool?.env.region];
  if (known(region) && known(poolRegion) && poolRegion !== region) {
    throw new Error(`AuthProvider.cognito: \`userPool\` must be in ${region}, the region of the stack, got one in ${poolRegion}: its client and its domain are made with the stack; use \`AuthProvider.oidc\` with a client of that pool`);
  }

  const parent = new Construct(scope, 'Cognito');
  const userPool = options.userPool ?? makeUserPool(parent);
  const domain = options.userPoolDomain ?? new cognito.UserPoolDomain(parent, 'Domain', {
    userPool,
    cognitoDomain: { domainPrefix: isStandIn(domainPrefix) ? 'yet-to-be-looked-up' : domainPrefix! }, // the CDK judges stand-ins, too
    managedLoginVersion: cognito.ManagedLoginVersion.NEWER_MANAGED_LOGIN,
  });
  const domainUrl = urlOf(domain);

  const pool = { userPool, identityProviders };
  const client = clientOfPeople(parent, pool, {
    generateSecret: true,
    oAuth: { callbackUrls: [redirectUrl], logoutUrls: [url] },
  });
  const tools = clientOfPeople(new Construct(parent, 'Tools'), pool, { oAuth: { callbackUrls: toolsRedirectUrls(url) } });
  const clientSecret = new secretsmanager.Secret(parent, 'ClientSecret', {
    description: 'MLflow: secret of the Cognito client with which people sign in. Written by the deployment.',
    secretStringValue: secretOf(client),
    ...(encryptionKey && { encryptionKey }),
  });
  clientSecret.node.addDependency(domain); // the tasks wait for the secret, and so for the sign-in page

  const machines = clientsOfMachines(parent, machineClients, userPool, url, domainUrl);
  const ids = [...machines.ids.values()];
  const issuerUrl = `https://${userPool.userPoolProviderName}`;
  const config: AuthProviderConfig = {
    clientId: client.userPoolClientId,
    clientSecret: Secret.fromSecretsManager(clientSecret),
    groups: true,
    refreshTokens: true, // and Cognito refuses `offline_access`
    signOutUrl: `${domainUrl}/logout?client_id=${client.userPoolClientId}&logout_uri=${escapedUrl(url)}`,
    machineIdentities: ids, // the subject of their tokens, which hold no address
    ...openTo(isOpen(userPool, identityProviders), allowedGroups),
    ...toolsClient(issuerUrl, DEFAULT_SCOPE, tools.userPoolClientId),
    environment: {
      OAUTH2_PROXY_PROVIDER: 'oidc',
      OAUTH2_PROXY_OIDC_ISSUER_URL: issuerUrl,
      OAUTH2_PROXY_SCOPE: DEFAULT_SCOPE,
      OAUTH2_PROXY_OIDC_GROUPS_CLAIM: 'cognito:groups',
      ...(allowedGroups && { OAUTH2_PROXY_ALLOWED_GROUPS: allowList(allowedGroups) }),
      ...(machineClients.length > 0 && {
        OAUTH2_PROXY_OIDC_AUDIENCE_CLAIMS: 'aud,client_id', // access tokens have no audience
        OAUTH2_PROXY_OIDC_EXTRA_AUDIENCES: Fn.join(',', ids),
      }),
    },
  };
  return { userPool, machineIds: machines.ids, machineSecrets: machines.secrets, config };
}

interface Pool extends Pick<CognitoAuthProviderOptions, 'identityProviders'> {
  readonly userPool: cognito.IUserPool;
}

/** With a sign-in page. */
function clientOfPeople(parent: Construct, { userPool, identityProviders }: Pool, options: cognito.UserPoolClientOptions): cognito.UserPoolClient {
  const client = new cognito.UserPoolClient(parent, 'Client', {
    userPool,
    authFlows: NO_SIGN_IN_API,
    ...(identityProviders && { supportedIdentityProviders: identityProviders }),
    preventUserExistenceErrors: true,
    enableTokenRevocation: true,
    ...options,
    oAuth: {
      flows: { authorizationCodeGrant: true },
      scopes: [cognito.OAuthScope.OPENID, cognito.OAuthScope.EMAIL, cognito.OAuthScope.PROFILE],
      ...options.oAuth,
    },
  });
  new cognito.CfnManagedLoginBranding(parent, 'Branding', {
    userPoolId: userPool.userPoolId,
    clientId: client.userPoolClientId,
    useCognitoProvidedValues: true, // a client without a style gets no sign-in page
  });
  return client;
}

function clientsOfMachines(parent: Construct, names: string[], userPool: cognito.IUserPool, url: string, domainUrl: string): Machines {
  const ids = new Map<string, string>();
  const secrets = new Map<string, secretsmanager.ISecret>();
  if (names.length === 0) {
    return { ids, secrets };
  }
  const machines = new Construct(parent, 'Machines');
  // The flow needs a scope. oauth2-proxy does not look at it; the client id decides.
  const access = new cognito.ResourceServerScope({ scopeName: 'access', scopeDescription: 'Use the MLflow server' });
  const server = new cognito.UserPoolResourceServer(parent, 'ResourceServer', { userPool, userPoolResourceServerName: 'MLflow', identifier: url, scopes: [access] });
  const scope = cognito.OAuthScope.resourceServer(server, access);
  for (const name of names) {
    const machine = new Construct(machines, name);
    const client = new cognito.UserPoolClient(machine, 'Client', {
      userPool,
      generateSecret: true,
      authFlows: NO_SIGN_IN_API,
      oAuth: { flows: { clientCredentials: true }, scopes: [scope] },
      enableTokenRevocation: true,
    });
    ids.set(name, client.userPoolClientId);
    secrets.set(name, new secretsmanager.Secret(machine, 'Secret', {
      description: `MLflow: with what the machine client ${name} asks Cognito for tokens. Written by the deployment.`,
      secretObjectValue: {
        tokenUrl: SecretValue.unsafePlainText(`${domainUrl}/oauth2/token`),
        clientId: SecretValue.unsafePlainText(client.userPoolClientId),
        clientSecret: secretOf(client),
        scope: SecretValue.unsafePlainText(scope.scopeName),
      },
    }));
  }
  return { ids, secrets };
}

interface Machines {
  /** By the name of the client, as the secrets. */
  readonly ids: Map<string, string>;
  readonly secrets: Map<string, secretsmanager.ISecret>;
}

/** No sign-in by API, neither with a password nor otherwise: people use the page of the pool, where its rules hold. */
const NO_SIGN_IN_API: cognito.AuthFlow = { user: false };

function makeUserPool(scope: Construct): cognito.UserPool {
  return new cognito.UserPool(scope, 'UserPool', {
    featurePlan: cognito.FeaturePlan.ESSENTIALS, // the newer sign-in page needs it
    selfSignUpEnabled: false,
    signInAliases: { email: true },
    signInCaseSensitive: false,
    standardAttributes: { email: { required: true, mutable: true } },
    autoVerify: { email: true },
    keepOriginal: { email: true }, // a changed address does not count before it is verified
    passwordPolicy: { minLength: 12, requireLowercase: true, requireUppercase: true, requireDigits: true, requireSymbols: true },
    mfa: cognito.Mfa.OPTIONAL,
    mfaSecondFactor: { otp: true, sms: false },
    accountRecovery: cognito.AccountRecovery.EMAIL_ONLY,
    deletionProtection: true,
    removalPolicy: RemovalPolicy.RETAIN, // accounts are data, and no backup brings them back
  });
}

/** Where anybody in the world can have an account. */
const SOCIAL_KINDS = [
  cognito.UserPoolIdentityProviderGoogle,
  cognito.UserPoolIdentityProviderFacebook,
  cognito.UserPoolIdentityProviderAmazon,
  cognito.UserPoolIdentityProviderApple,
];
const { GOOGLE, FACEBOOK, AMAZON, APPLE, COGNITO } = cognito.UserPoolClientIdentityProvider;
const SOCIAL_NAMES = [GOOGLE, FACEBOOK, AMAZON, APPLE].map(({ name }) => name);

/** Whether anybody in the world can have an account of the pool, as far as this app defines it. */
function isOpen(userPool: cognito.IUserPool, identityProviders?: cognito.UserPoolClientIdentityProvider[]): boolean | undefined {
  const names = identityProviders?.map(({ name }) => name);
  const social = names === undefined
    ? userPool.identityProviders.some(provider => SOCIAL_KINDS.some(kind => provider instanceof kind))
    : names.some(name => SOCIAL_NAMES.includes(name));
  if (social) {
    return true;
  }
  const pool = userPool.node.defaultChild;
  if (!(pool instanceof cognito.CfnUserPool)) {
    return undefined; // imported
  }
  if (names !== undefined && !names.includes(COGNITO.name)) {
    return false; // people come from the company's own providers
  }
  const config = (pool.adminCreateUserConfig ?? {}) as cognito.CfnUserPool.AdminCreateUserConfigProperty;
  const { allowAdminCreateUserOnly = false } = config;
  return Token.isUnresolved(config) || Token.isUnresolved(allowAdminCreateUserOnly) ? undefined : !allowAdminCreateUserOnly;
}

/** From CloudFormation itself: what the CDK offers is a function that runs in the account. */
function secretOf(client: cognito.UserPoolClient): SecretValue {
  return SecretValue.resourceAttribute((client.node.defaultChild as cognito.CfnUserPoolClient).attrClientSecret);
}

function urlOf(domain: cognito.IUserPoolDomain): string {
  const made = domain as cognito.UserPoolDomain;
  if (typeof made.baseUrl === 'function') {
    return made.baseUrl();
  }
  // An imported one has only a name: a whole host, or a prefix.
  const { domainName } = domain;
  if (Token.isUnresolved(domainName)) {
    throw new Error('AuthProvider.cognito: `userPoolDomain` must have a name that is known at synthesis, or be a UserPoolDomain: pass UserPoolDomain.fromDomainName(…) the prefix or the host itself');
  }
  return `https://${domainName.includes('.') ? domainName : `${domainName}.auth.${Stack.of(domain).region}.amazoncognito.com`}`;
}

function prefixFrom(url: string): string {
  if (Token.isUnresolved(url)) {
    throw new Error('AuthProvider.cognito: `domainPrefix` must be given where the domain name of the server is only known at deployment: choose one that nobody else in the region has');
  }
  const prefix = new URL(url).hostname.replace(/\./g, '-');
  refuseBadPrefix(`made from ${url}, got`, prefix);
  return prefix;
}

/** https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-assign-domain-prefix.html */
function refuseBadPrefix(got: string, prefix: string): void {
  if (known(prefix) && (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(prefix) || /aws|amazon|cognito/.test(prefix))) {
    throw new Error(`AuthProvider.cognito: \`domainPrefix\` must be 1 to 63 lower-case letters, digits and inner dashes without "aws", "amazon" and "cognito", ${got} ${JSON.stringify(prefix)}: choose another that nobody else in the region has`);
  }
}

function refuseBadNames(names?: string[]): void {
  if (names === undefined) {
    return;
  }
  // They name constructs, so they cannot be CDK tokens either.
  if (names.length === 0 || new Set(names).size < names.length || !names.every(name => isStandIn(name) || /^[A-Za-z][\w-]{0,63}$/.test(name))) {
    throw new Error(`AuthProvider.cognito: \`machineClients\` must hold at least one name, each once, of letters, digits, "-" and "_", such as "training", got ${JSON.stringify(names)}: leave it out for none`);
  }
}
