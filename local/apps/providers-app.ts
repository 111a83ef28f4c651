/** One stack for each way to sign in: local/checks/providers.mts tests the settings of each with the real oauth2-proxy. */

import { App, Duration, Fn, Stack, aws_cognito as cognito, aws_ec2 as ec2, aws_ecs as ecs, aws_route53 as route53, aws_secretsmanager as secretsmanager } from 'aws-cdk-lib';
import { AuthProvider, SecureMlflow } from 'cdk-secure-mlflow';

interface Client {
  readonly clientId: string;
  readonly clientSecret: ecs.Secret;
}

const tenantId = '11111111-2222-3333-4444-555555555555';
/** A value that is known only at deployment, and is then empty. */
const nothing = Fn.sub('${Nothing}', { Nothing: '' });

const providers: Record<string, (client: Client, stack: Stack) => AuthProvider> = {
  'google': client => AuthProvider.google(client),
  'google-with-machines': client => AuthProvider.google(client),
  'google-with-nothing': client => AuthProvider.google({ ...client, hostedDomains: [nothing] }),
  'google-with-every-account': client => AuthProvider.google({ ...client, hostedDomains: ['*'] }),
  'oidc': client => AuthProvider.oidc({ ...client, issuerUrl: 'https://login.example.com/' }),
  'oidc-with-everything': client => AuthProvider.oidc({
    ...client,
    issuerUrl: 'https://login.example.com/',
    scope: 'openid email groups',
    emailClaim: 'mail',
    groupsClaim: 'roles',
    allowedGroups: ['ml-team', 'ml team of others'],
    extraAudiences: ['https://mlflow.example.com', 'training'],
  }),
  'oidc-with-a-claim': client => AuthProvider.oidc({ ...client, issuerUrl: 'https://login.example.com/', emailClaim: 'preferred_username' }),
  'oidc-with-nothing': client => AuthProvider.oidc({ ...client, issuerUrl: 'https://login.example.com/', allowedGroups: [nothing] }),
  'okta': client => AuthProvider.oidc({ ...client, issuerUrl: 'https://example.okta.com' }),
  'okta-with-groups': client => AuthProvider.oidc({
    ...client, issuerUrl: 'https://example.okta.com/oauth2/default', scope: 'openid email profile groups', allowedGroups: ['ml-team'],
  }),
  'auth0': client => AuthProvider.oidc({ ...client, issuerUrl: 'https://example.eu.auth0.com/' }),
  'auth0-with-groups': client => AuthProvider.oidc({
    ...client, issuerUrl: 'https://example.eu.auth0.com/', groupsClaim: 'https://example.com/groups', allowedGroups: ['ml-team'],
  }),
  'cognito': () => AuthProvider.cognito(),
  'cognito-with-groups': () => AuthProvider.cognito({ domainPrefix: 'mlflow-of-a-team', allowedGroups: ['ml-team'] }),
  'cognito-with-nothing': () => AuthProvider.cognito({ domainPrefix: 'mlflow-of-nobody', allowedGroups: [nothing] }),
  'cognito-with-machines': () => AuthProvider.cognito({ machineClients: ['training', 'nightly'] }),
  'cognito-brought': (_, stack) => AuthProvider.cognito({
    userPool: cognito.UserPool.fromUserPoolId(stack, 'Pool', 'eu-central-1_brought'),
    userPoolDomain: cognito.UserPoolDomain.fromDomainName(stack, 'Domain', 'login.example.com'),
    machineClients: ['training'],
  }),
  'entra-id': client => AuthProvider.entraId({ ...client, tenantId }),
  'entra-id-with-nothing': client => AuthProvider.entraId({ ...client, tenantId, allowedGroups: [nothing] }),
  'entra-id-with-groups': client => AuthProvider.entraId({
    ...client, tenantId, emailClaim: 'preferred_username', allowedGroups: ['66666666-7777-8888-9999-000000000000'],
  }),
  'keycloak': client => AuthProvider.keycloak({ ...client, realmUrl: 'https://keycloak.example.com/realms/company' }),
  'keycloak-with-nothing': client => AuthProvider.keycloak({ ...client, realmUrl: 'https://keycloak.example.com/realms/company', allowedRoles: [nothing] }),
  'keycloak-with-groups-and-roles': client => AuthProvider.keycloak({
    ...client, realmUrl: 'https://keycloak.example.com/realms/company', allowedGroups: ['/ml-team'], allowedRoles: ['ml-user', 'mlflow:user'],
  }),
  'github': client => AuthProvider.github(client),
  'github-with-nothing': client => AuthProvider.github({ ...client, teams: [nothing] }),
  'github-with-teams': client => AuthProvider.github({ ...client, organization: 'example', teams: ['ml-team', 'research'] }),
  'github-enterprise': client => AuthProvider.github({ ...client, enterpriseUrl: 'https://github.example.com', teams: ['example:ml-team'] }),
  'gitlab': client => AuthProvider.gitlab(client),
  'gitlab-with-no-groups': client => AuthProvider.gitlab({ ...client, allowedGroups: [nothing] }),
  'gitlab-with-no-projects': client => AuthProvider.gitlab({ ...client, allowedProjects: [nothing] }),
  'gitlab-with-groups-and-projects': client => AuthProvider.gitlab({
    ...client, baseUrl: 'https://gitlab.example.com', allowedGroups: ['ml/team'], allowedProjects: ['ml/models=30', 'ml/data'],
  }),
};

/** Providers that support `sessionRefresh`. */
const refreshed = ['oidc', 'cognito', 'entra-id', 'keycloak', 'gitlab'].map(name => [`${name}-refreshed`, providers[name]] as const);

/** Providers that send groups. Only `access` names a group. */
const levelled = ['oidc', 'cognito', 'entra-id', 'keycloak', 'github', 'gitlab'].map(name => [`${name}-with-levels`, providers[name]] as const);
const access = { admins: { groups: ['example:research'] } };

const machineIdentities: Record<string, string[]> = { 'google-with-machines': ['ci@project.iam.gserviceaccount.com'] };

const app = new App();
for (const [name, provider] of [...Object.entries(providers), ...refreshed, ...levelled]) {
  const stack = new Stack(app, name);
  const oauth = secretsmanager.Secret.fromSecretNameV2(stack, 'OAuth', 'mlflow/oauth');
  new SecureMlflow(stack, 'Mlflow', {
    domainName: 'mlflow.example.com',
    hostedZone: route53.HostedZone.fromHostedZoneAttributes(stack, 'Zone', { zoneName: 'example.com', hostedZoneId: 'Z0123456789EXAMPLE' }),
    authProvider: provider({ clientId: '1234', clientSecret: ecs.Secret.fromSecretsManager(oauth, 'clientSecret') }, stack),
    emailDomains: ['example.com', 'ml.example.com'],
    ...name.endsWith('-refreshed') && { sessionRefresh: Duration.minutes(30) },
    ...name.endsWith('-with-levels') && { access },
    ...machineIdentities[name] && { machineIdentities: machineIdentities[name] },
    vpc: ec2.Vpc.fromVpcAttributes(stack, 'Vpc', {
      vpcId: 'vpc-0123456789abcdef0',
      availabilityZones: ['eu-central-1a', 'eu-central-1b'],
      publicSubnetIds: ['subnet-0123456789abcdefa', 'subnet-0123456789abcdefb'],
      publicSubnetRouteTableIds: ['rtb-0123456789abcdefa', 'rtb-0123456789abcdefb'],
      privateSubnetIds: ['subnet-0123456789abcdefc', 'subnet-0123456789abcdefd'],
      privateSubnetRouteTableIds: ['rtb-0123456789abcdefc', 'rtb-0123456789abcdefd'],
    }),
  });
}
app.synth();
