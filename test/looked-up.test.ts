import { App, Stack } from 'aws-cdk-lib';
import * as acm from 'aws-cdk-lib/aws-certificatemanager';
import * as cognito from 'aws-cdk-lib/aws-cognito';
import * as ssm from 'aws-cdk-lib/aws-ssm';
import { clientSecret, define, newApp, one, Overrides, refusal } from './fixtures';
import { AuthProvider, SessionStore, TokenIssuer } from '../src';

const ENV = { account: '111122223333', region: 'eu-west-1' };
const stackWith = (context?: Record<string, unknown>) => new Stack(newApp(context), 'Stack', { env: ENV });

/** The value of the parameter after the lookup. */
const parameter = (stack: Stack, name = '/ml/value') => ssm.StringParameter.valueFromLookup(stack, name);
const contextOf = (value: string) => ({ 'ssm:account=111122223333:parameterName=/ml/value:region=eu-west-1': value });

const client = (stack: Stack) => ({ clientId: parameter(stack), clientSecret: clientSecret(stack) });
const certificate = (stack: Stack) => acm.Certificate.fromCertificateArn(stack, 'Certificate', 'arn:aws:acm:eu-west-1:111122223333:certificate/1');
const named = (stack: Stack, domainName: string): Overrides => ({ domainName, hostedZone: undefined, certificate: certificate(stack) });

// As final values, nearly all of these are refused.
test.each<[string, (stack: Stack) => Overrides]>([
  ['domainName', stack => ({ domainName: parameter(stack) })],
  ['domainName, with a certificate', stack => named(stack, parameter(stack))],
  ['a part of domainName', stack => named(stack, `mlflow.${parameter(stack)}`)],
  ['domainName, from which the prefix of Cognito is derived', stack => ({ ...named(stack, parameter(stack)), authProvider: AuthProvider.cognito() })],
  ['emailDomains', stack => ({ emailDomains: [parameter(stack)] })],
  ['emailDomains, several in one', stack => ({ emailDomains: parameter(stack).split(',') })],
  ['awsIdentityIssuer', stack => ({ awsIdentityIssuer: parameter(stack) })],
  ['machineIdentities', stack => ({ machineIdentities: [`${parameter(stack)} #`] })],
  ['artifactPath', stack => ({ artifactPath: parameter(stack) })],
  ['gunicornOpts', stack => ({ gunicornOpts: parameter(stack) })],
  ['aiGateway.privateProviders', stack => ({ aiGateway: { privateProviders: [parameter(stack)] } })],
  ['a switch of environment', stack => ({ environment: { MLFLOW_SERVER_ENABLE_JOB_EXECUTION: parameter(stack) } })],
  ['a number of environment', stack => ({ environment: { MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS: parameter(stack) } })],
  ['host and user of a session store', stack => ({
    sessionStore: SessionStore.existing({ host: parameter(stack), username: `${parameter(stack)} x`, password: clientSecret(stack) }),
  })],
  ['issuer and audience of trustedTokenIssuers', stack => ({ trustedTokenIssuers: [TokenIssuer.oidc({ issuerUrl: parameter(stack), audience: `${parameter(stack)},` })] })],
  ['hostedDomains of Google', stack => ({ authProvider: AuthProvider.google({ ...client(stack), hostedDomains: [parameter(stack)] }) })],
  ['issuer and groups of any provider', stack => ({
    authProvider: AuthProvider.oidc({ ...client(stack), issuerUrl: parameter(stack), allowedGroups: [`${parameter(stack)},`], emailClaim: parameter(stack) }),
  })],
  ['the tenant of Entra ID', stack => ({ authProvider: AuthProvider.entraId({ ...client(stack), tenantId: parameter(stack) }) })],
  ['the realm of Keycloak', stack => ({ authProvider: AuthProvider.keycloak({ ...client(stack), realmUrl: parameter(stack) }) })],
  ['organization, teams and server of GitHub', stack => ({
    authProvider: AuthProvider.github({
      ...client(stack), organization: parameter(stack), teams: [parameter(stack)], enterpriseUrl: parameter(stack),
    }),
  })],
  ['server and projects of GitLab', stack => ({ authProvider: AuthProvider.gitlab({ ...client(stack), baseUrl: parameter(stack), allowedProjects: [parameter(stack)] }) })],
  ['domainPrefix of Cognito', stack => ({ authProvider: AuthProvider.cognito({ domainPrefix: parameter(stack) }) })],
  ['a prefix without a path, too', stack => ({ authProvider: AuthProvider.cognito({ domainPrefix: parameter(stack, 'Prefix') }) })],
  ['machineClients of Cognito', stack => ({ authProvider: AuthProvider.cognito({ machineClients: [parameter(stack)] }) })],
  ['the domain of a pool', stack => ({
    authProvider: AuthProvider.cognito({
      userPool: cognito.UserPool.fromUserPoolId(stack, 'Pool', 'eu-west-1_abc'),
      userPoolDomain: cognito.UserPoolDomain.fromDomainName(stack, 'Domain', parameter(stack)),
    }),
  })],
])('%s may be the dummy value of a parameter lookup', (_, overrides) => {
  const { stack } = define(overrides, stackWith());
  expect((stack.node.root as App).synth().manifest.missing).toContainEqual(expect.objectContaining({ provider: 'ssm' }));
});

test('values after the lookup are checked', () => {
  expect(refusal(stack => ({ emailDomains: [parameter(stack)] }), stackWith(contextOf('@example.com')))).toBe(one(
    '`emailDomains`: each entry must be a domain in lower case such as "example.com", got "@example.com": leave out "@", scheme and commas, and write one domain in each entry'));
});
