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

/** Options of `AuthProvider.cognito`. */
export interface CognitoAuthProviderOptions {
  /**
   * Existing user pool, in the account and region of the stack. The construct adds clients and, without `userPoolDomain`, a domain; with
   * `machineClients` also a resource server. It changes nothing else in the pool.
   *
   * @default - a new pool without self sign-up, which is kept when the stack is deleted
   */
  readonly userPool?: cognito.IUserPool;

  /**
   * Domain that `userPool` already has. A pool can have one domain with a prefix; a second one fails to deploy.
   *
   * @default - a new domain with `domainPrefix`
   */
  readonly userPoolDomain?: cognito.IUserPoolDomain;

  /**
   * First part of the host of the sign-in page, `https://<domainPrefix>.auth.<region>.amazoncognito.com`. It must be unique in the region across all AWS accounts.
   *
   * @default - the domain name of the server with dashes in place of dots, such as `mlflow-example-com`
   */
  readonly domainPrefix?: string;

  /**
   * Providers with which people of the pool may sign in. Set this for a pool that forwards people to your company's own provider.
   *
   * @default - accounts of the pool, and the providers that this app has added to the pool
   */
  readonly identityProviders?: cognito.UserPoolClientIdentityProvider[];

  /**
   * Allowed groups of the pool. A person must be in one of them and also have an address in `emailDomains`. Not together with `machineClients`.
   *
   * @default - everybody in the pool
   */
  readonly allowedGroups?: string[];

  /**
   * Names of programs, such as `training`. Each program gets an OAuth client for the client-credentials flow, and a secret with everything it needs to request
   * access tokens: `machineClientSecret(name)`.
   *
   * @default - none
   */
  readonly machineClients?: string[];
}

export interface Cognito {
  readonly userPool: cognito.IUserPool;
  /** Ids by the name of the machine client. `machineSecrets` has the same keys. */
  readonly machineIds: Map<string, string>;
  readonly machineSecrets: Map<string, secretsmanager.ISecret>;
  readonly config: AuthProviderConfig;
}

/** Throws if options contradict each other, or a prefix, a group or a name is invalid. */
export function checkCognito(options: CognitoAuthProviderOptions): void {
  const { userPool, userPoolDomain, domainPrefix, allowedGroups, machineClients } = options;
  if (userPoolDomain !== undefined && userPool === undefined) {
    throw new Error(`AuthProvider.cognito: \`userPoolDomain\` needs \`userPool\`, got the domain ${JSON.stringify(userPoolDomain.domainName)} without it: pass the pool that the domain belongs to`);
  }
  if (userPoolDomain !== undefined && domainPrefix !== undefined) {
    throw new Error(`AuthProvider.cognito: \`domainPrefix\` must be left out where \`userPoolDomain\` is given, got ${JSON.stringify(domainPrefix)}: it applies only to a new domain`);
  }
  if (domainPrefix !== undefined) {
    refuseBadPrefix('got', domainPrefix);
  }
  requireList('AuthProvider.cognito: `allowedGroups`', allowedGroups);
  refuseBadNames(machineClients);
  if (allowedGroups !== undefined && machineClients !== undefined) {
    throw new Error(`AuthProvider.cognito: \`allowedGroups\` must be left out where \`machineClients\` is given, got ${JSON.stringify(allowedGroups)}: access tokens of machine clients contain no groups and would be rejected; use a pool with only people who may sign in, or use \`grantTrackingAccess\` for programs in place of \`machineClients\``);
  }
}

/** Defines the clients for people and for `machineClients`, and the pool and its domain if they are not given. */
export function defineCognito(scope: Construct, options: CognitoAuthProviderOptions, deployment: AuthProviderBindOptions): Cognito {
  const { allowedGroups, identityProviders, machineClients = [] } = options;
  const { url, redirectUrl, encryptionKey } = deployment;
  const domainPrefix = options.userPoolDomain === undefined ? options.domainPrefix ?? prefixFrom(url) : undefined;

  const [region, poolRegion] = [Stack.of(scope).region, options.userPool?.env.region];
  if (known(region) && known(poolRegion) && poolRegion !== region) {
    throw new Error(`AuthProvider.cognito: \`userPool\` must be in ${region}, the region of the stack, got one in ${poolRegion}: its client and its domain are created with the stack; use \`AuthProvider.oidc\` with a client of that pool`);
  }

  const parent = new Construct(scope, 'Cognito');
  const userPool = options.userPool ?? makeUserPool(parent);
  const domain = options.userPoolDomain ?? new cognito.UserPoolDomain(parent, 'Domain', {
    userPool,
    cognitoDomain: { domainPrefix: isStandIn(domainPrefix) ? 'yet-to-be-looked-up' : domainPrefix! }, // the CDK also validates dummy values of lookups
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
    description: 'MLflow: secret of the Cognito client for the sign-in of people. Written by the deployment.',
    secretStringValue: secretOf(client),
    ...(encryptionKey && { encryptionKey }),
  });
  clientSecret.node.addDependency(domain); // the tasks wait for the secret, and therefore for the sign-in page

  const machines = clientsOfMachines(parent, machineClients, userPool, url, domainUrl);
  const ids = [...machines.ids.values()];
  const issuerUrl = `https://${userPool.userPoolProviderName}`;
  const config: AuthProviderConfig = {
    clientId: client.userPoolClientId,
    clientSecret: Secret.fromSecretsManager(clientSecret),
    groups: true,
    refreshTokens: true, // and Cognito rejects `offline_access`
    signOutUrl: `${domainUrl}/logout?client_id=${client.userPoolClientId}&logout_uri=${escapedUrl(url)}`,
    machineIdentities: ids, // the subject of their access tokens, which contain no address
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

/** A client with a sign-in page. */
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
  // The flow requires a scope. oauth2-proxy does not check it; the client id decides.
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
      description: `MLflow: what the machine client ${name} needs to request access tokens from Cognito. Written by the deployment.`,
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
  /** Ids by the name of the client. `secrets` has the same keys. */
  readonly ids: Map<string, string>;
  readonly secrets: Map<string, secretsmanager.ISecret>;
}

/** No sign-in through the API, with or without a password: people use the sign-in page of the pool, where its rules apply. */
const NO_SIGN_IN_API: cognito.AuthFlow = { user: false };

function makeUserPool(scope: Construct): cognito.UserPool {
  return new cognito.UserPool(scope, 'UserPool', {
    featurePlan: cognito.FeaturePlan.ESSENTIALS, // required for the newer sign-in page
    selfSignUpEnabled: false,
    signInAliases: { email: true },
    signInCaseSensitive: false,
    standardAttributes: { email: { required: true, mutable: true } },
    autoVerify: { email: true },
    keepOriginal: { email: true }, // a changed address is not used before it is verified
    passwordPolicy: { minLength: 12, requireLowercase: true, requireUppercase: true, requireDigits: true, requireSymbols: true },
    mfa: cognito.Mfa.OPTIONAL,
    mfaSecondFactor: { otp: true, sms: false },
    accountRecovery: cognito.AccountRecovery.EMAIL_ONLY,
    deletionProtection: true,
    removalPolicy: RemovalPolicy.RETAIN, // accounts are data, and there is no backup of them
  });
}

/** Providers where anyone in the world can have an account. */
const SOCIAL_KINDS = [
  cognito.UserPoolIdentityProviderGoogle,
  cognito.UserPoolIdentityProviderFacebook,
  cognito.UserPoolIdentityProviderAmazon,
  cognito.UserPoolIdentityProviderApple,
];
const { GOOGLE, FACEBOOK, AMAZON, APPLE, COGNITO } = cognito.UserPoolClientIdentityProvider;
const SOCIAL_NAMES = [GOOGLE, FACEBOOK, AMAZON, APPLE].map(({ name }) => name);

/** Whether anyone in the world can have an account in the pool. Undefined if this app does not define it. */
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
    return false; // people sign in with the company's own providers
  }
  const config = (pool.adminCreateUserConfig ?? {}) as cognito.CfnUserPool.AdminCreateUserConfigProperty;
  const { allowAdminCreateUserOnly = false } = config;
  return Token.isUnresolved(config) || Token.isUnresolved(allowAdminCreateUserOnly) ? undefined : !allowAdminCreateUserOnly;
}

/** Read by CloudFormation itself: the CDK would deploy a Lambda function for it. */
function secretOf(client: cognito.UserPoolClient): SecretValue {
  return SecretValue.resourceAttribute((client.node.defaultChild as cognito.CfnUserPoolClient).attrClientSecret);
}

function urlOf(domain: cognito.IUserPoolDomain): string {
  const made = domain as cognito.UserPoolDomain;
  if (typeof made.baseUrl === 'function') {
    return made.baseUrl();
  }
  // An imported domain has only a name: a whole host, or a prefix.
  const { domainName } = domain;
  if (Token.isUnresolved(domainName)) {
    throw new Error('AuthProvider.cognito: `userPoolDomain` must have a name that is known at synthesis, got a CDK token: pass a UserPoolDomain, or UserPoolDomain.fromDomainName(…) with the prefix or the host written out');
  }
  return `https://${domainName.includes('.') ? domainName : `${domainName}.auth.${Stack.of(domain).region}.amazoncognito.com`}`;
}

function prefixFrom(url: string): string {
  if (Token.isUnresolved(url)) {
    throw new Error('AuthProvider.cognito: `domainPrefix` must be given where \`domainName\` of the server is a CDK token, got no value: choose one that is not yet used in the region');
  }
  const prefix = new URL(url).hostname.replace(/\./g, '-');
  refuseBadPrefix(`derived from ${url}, got`, prefix);
  return prefix;
}

/** https://docs.aws.amazon.com/cognito/latest/developerguide/cognito-user-pools-assign-domain-prefix.html */
function refuseBadPrefix(got: string, prefix: string): void {
  if (known(prefix) && (!/^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$/.test(prefix) || /aws|amazon|cognito/.test(prefix))) {
    throw new Error(`AuthProvider.cognito: \`domainPrefix\` must be 1 to 63 lower-case letters, digits and inner dashes without "aws", "amazon" and "cognito", ${got} ${JSON.stringify(prefix)}: choose another that is not yet used in the region`);
  }
}

function refuseBadNames(names?: string[]): void {
  if (names === undefined) {
    return;
  }
  // The names are construct ids, so they must not be CDK tokens.
  if (names.length === 0 || new Set(names).size < names.length || !names.every(name => isStandIn(name) || /^[A-Za-z][\w-]{0,63}$/.test(name))) {
    throw new Error(`AuthProvider.cognito: \`machineClients\` must contain at least one name, each once, of letters, digits, "-" and "_", beginning with a letter, such as "training", got ${JSON.stringify(names)}: leave it out for none`);
  }
}
