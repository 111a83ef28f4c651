import { readFileSync } from 'fs';
import { join } from 'path';
import { Lazy, SecretValue, Stack } from 'aws-cdk-lib';
import * as ecs from 'aws-cdk-lib/aws-ecs';
import * as secretsmanager from 'aws-cdk-lib/aws-secretsmanager';
import * as ssm from 'aws-cdk-lib/aws-ssm';
import { define, newStack, Overrides, secretsOf, statementsOf, synthesise } from './fixtures';
import { AuthProvider, AuthProviderConfig } from '../src';
import { GUNICORN_OPTIONS } from '../src/checks/gunicorn';
import { RESERVED_MLFLOW_NAMES } from '../src/settings/mlflow';
import { OTHER_PROXY_NAMES, PROVIDER_NAMES, RESERVED_PROXY_NAMES } from '../src/settings/oauth2-proxy';

const secret = ecs.Secret.fromSecretsManager(secretsmanager.Secret.fromSecretNameV2(newStack(), 'Secret', 'one'));

class Custom extends AuthProvider {
  public constructor(private readonly environment: Record<string, string>) {
    super();
  }

  public bind(): AuthProviderConfig {
    return { clientId: 'custom', clientSecret: secret, environment: this.environment };
  }
}

/** The names in a list in local/names/, by its headings. */
function listed(file: string): Map<string, string[]> {
  const parts = readFileSync(join(__dirname, '..', 'local', 'names', file), 'utf8').trim().split('\n\n').map(part => part.split('\n'));
  return new Map(parts.map(([heading, ...names]) => [heading.replace('# ', ''), names]));
}

/** The problems that synthesis lists. */
function problems(overrides: Overrides): string[] {
  try {
    define(overrides);
    return [];
  } catch (error) {
    return (error as Error).message.split('\n  - ').slice(1);
  }
}

/** The names of a list that are refused in a prop, tested together. */
function refused(prop: string, names: string[], value: unknown): string[] {
  const pattern = new RegExp(`^\`${prop}\` must not contain ([^ ,:]+)`);
  return problems({ [prop]: Object.fromEntries(names.map(name => [name, value])) }).map(problem => pattern.exec(problem)?.[1] ?? problem);
}

// The checks read the names from the installed programs (`npm run try -- --check names`). The tests here check how each name is handled.
describe.each([
  ['server.txt', 'environment', 'secrets', RESERVED_MLFLOW_NAMES, /^_?MLFLOW_/],
  ['process.txt', 'environment', 'secrets', {}, /^$/],
  ['oauth2-proxy.txt', 'proxyEnvironment', 'proxySecrets', { ...PROVIDER_NAMES, ...RESERVED_PROXY_NAMES }, /^OAUTH2_PROXY_/],
] as const)('the names of %s', (file, plain, secrets, reserved, own) => {
  const lists = listed(file);
  const [never, inSecrets, ...others] = [...lists.keys()].filter(heading => !heading.startsWith('No names'));
  const allowed = others.flatMap(heading => lists.get(heading)!);

  test('are each listed once', () => {
    const all = [...lists.values()].flat();
    expect(all).toEqual([...new Set(all)]);
    expect([never, inSecrets]).toEqual([`Refused, in \`${plain}\` and in \`${secrets}\``, `Secrets: in \`${secrets}\` alone`]);
  });

  test('are refused or not as the list says', () => {
    expect(refused(plain, [...lists.get(never)!, ...allowed], '1')).toEqual(lists.get(never));
    expect(refused(secrets, lists.get(never)!, secret)).toEqual(lists.get(never));
  });

  test('names of secrets are refused only in plain text', () => {
    expect(refused(plain, lists.get(inSecrets)!, 'a5f0')).toEqual(lists.get(inSecrets));
    expect(refused(secrets, lists.get(inSecrets)!, secret)).toEqual([]);
  });

  // A reason for a name that the program does not know is outdated or misspelled.
  test('reasons exist only for known names', () => {
    const known = [...lists.get(never)!, ...lists.get(inSecrets)!];
    const stale = Object.keys(reserved).filter(entry => own.test(entry) && !known.some(name => name === entry || (entry.endsWith('*') && name.startsWith(entry.slice(0, -1)))));
    expect(stale).toEqual([]);
  });
});

test('every name of oauth2-proxy that is not refused is known', () => {
  const [, ...allowed] = listed('oauth2-proxy.txt').values();
  expect([...OTHER_PROXY_NAMES].sort()).toEqual(allowed.flat().sort());
});

test('gunicornOpts accepts the options that tune gunicorn, and no others', () => {
  const lists = listed('gunicorn.txt');
  const options = Object.entries(GUNICORN_OPTIONS).map(([option, value]) => value === 'no value' ? option : `${option} …`);
  expect(lists.get('They tune gunicorn')).toEqual(options.sort());
  for (const option of lists.get('Refused')!) {
    expect(problems({ gunicornOpts: option.replace('…', '1') })[0]).toContain(`must contain only options that tune gunicorn, got "${option.replace(' …', '')}"`);
  }
});

describe('names that weaken the protection are refused', () => {
  // Listed here as well, because the tables above become shorter when an entry is removed.
  test.each([
    'MLFLOW_GATEWAY_API_BASE_ALLOW_PRIVATE_IPS', 'MLFLOW_GATEWAY_API_BASE_ALLOWED_SCHEMES', 'MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS', 'MLFLOW_WEBHOOK_ALLOW_PRIVATE_IPS', 'MLFLOW_WEBHOOK_ALLOWED_SCHEMES',
    'MLFLOW_ICON_URL_ALLOW_PRIVATE_IPS', 'MLFLOW_ICON_URL_ALLOWED_SCHEMES', 'MLFLOW_ALLOWED_HOST_ADDRESSED_ARTIFACT_SCHEMES', 'MLFLOW_GATEWAY_RESOLVE_API_KEY_FROM_ENV',
    'MLFLOW_GATEWAY_RESOLVE_API_KEY_FROM_FILE', 'MLFLOW_ENABLE_ASSISTANT_SANDBOX', 'MLFLOW_SANDBOX_DOCKER_IMAGE', 'MLFLOW_ENABLE_AI_GATEWAY', 'AWS_SECURITY_TOKEN', 'AWS_CONTAINER_CREDENTIALS_FULL_URI',
    'AWS_ENDPOINT_URL', 'AWS_ENDPOINT_URL_S3', 'MLFLOW_S3_IGNORE_TLS', 'MLFLOW_S3_ENDPOINT_URL', 'PYTHONPATH', 'PYTHONSTARTUP', 'PYTHONHOME', 'LD_PRELOAD', 'PATH', 'SECURE_MLFLOW_API_LIMIT_MIB',
    'GOOGLE_EXTERNAL_ACCOUNT_ALLOW_EXECUTABLES', 'BOTOCORE_EXPERIMENTAL__PLUGINS', 'FLASK_DEBUG', 'CLEAN_UP_OLDER_THAN',
  ])('%s, in environment and in secrets', name => {
    expect(problems({ environment: { [name]: 'true' } })).toEqual([expect.stringContaining(`\`environment\` must not contain ${name}: `)]);
    expect(problems({ secrets: { [name]: secret } })).toEqual([expect.stringContaining(`\`secrets\` must not contain ${name}: `)]);
  });

  test.each([
    'SET_AUTHORIZATION_HEADER', 'PASS_ACCESS_TOKEN', 'PASS_AUTHORIZATION_HEADER', 'PREFER_EMAIL_TO_USER', 'REDIS_INSECURE_SKIP_TLS_VERIFY', 'SET_BASIC_AUTH', 'BASIC_AUTH_PASSWORD', 'FORCE_HTTPS',
  ].map(name => `OAUTH2_PROXY_${name}`))('%s, in proxyEnvironment, in proxySecrets and in a provider', name => {
    expect(problems({ proxyEnvironment: { [name]: 'true' } })).toEqual([expect.stringContaining(`\`proxyEnvironment\` must not contain ${name}: `)]);
    expect(problems({ proxySecrets: { [name]: secret } })).toEqual([expect.stringContaining(`\`proxySecrets\` must not contain ${name}: `)]);
    expect(problems({ authProvider: new Custom({ [name]: 'true' }) })).toEqual([expect.stringContaining(`\`authProvider\` must not contain ${name}: `)]);
  });

  test.each(['CODE_CHALLENGE_METHOD', 'FORCE_CODE_CHALLENGE_METHOD', 'BACKEND_LOGOUT_URL', 'AZURE_TENANT'].map(name => `OAUTH2_PROXY_${name}`))('%s, except in a provider', name => {
    expect(problems({ proxyEnvironment: { [name]: 'plain' } })).toEqual([expect.stringContaining(`\`proxyEnvironment\` must not contain ${name}: `)]);
    expect(problems({ proxySecrets: { [name]: secret } })).toEqual([expect.stringContaining(`\`proxySecrets\` must not contain ${name}: `)]);
    expect(problems({ authProvider: new Custom({ [name]: 'plain' }) })).toEqual([]);
  });
});

describe('secrets in plain text', () => {
  const readable = 'which everybody with access to the template or the task definition could read';

  test.each(['OPENAI_API_KEY', 'AWS_BEARER_TOKEN_BEDROCK', 'MLFLOW_WEBHOOK_SECRET_ENCRYPTION_KEY', 'MLFLOW_TRACKING_TOKEN', 'DB_PASSWORD', 'CLIENT_SECRET', 'SIGNING_KEY', 'PASSPHRASE', 'my_api_key', 'GCP_CREDENTIALS',
    'DB_PASS', 'DB_PASSWD', 'DB_PWD', 'OPENAI_KEY', 'GITHUB_PAT', 'SLACK_WEBHOOK_URL', 'AZURE_ACCESSKEY'])(
    '%s is for secrets', name => {
      expect(problems({ environment: { [name]: 'a5f0' } })).toEqual([`\`environment\` must not contain ${name}, ${readable}: use \`secrets\``]);
      expect(problems({ environment: { [name]: Lazy.string({ produce: () => 'a5f0' }) } })).toHaveLength(1);
      expect(problems({ secrets: { [name]: secret } })).toEqual([]);
    });

  test.each(['OAUTH2_PROXY_SIGNATURE_KEY', 'OAUTH2_PROXY_JWT_KEY'])('%s belongs into proxySecrets', name => {
    expect(problems({ proxyEnvironment: { [name]: 'a5f0' } })).toEqual([`\`proxyEnvironment\` must not contain ${name}, ${readable}: use \`proxySecrets\``]);
    expect(problems({ authProvider: new Custom({ [name]: 'a5f0' }) })).toEqual([`\`authProvider\` must not contain ${name}, ${readable}: use \`proxySecrets\``]);
    expect(problems({ proxySecrets: { [name]: secret } })).toEqual([]);
  });

  test('a secret of the provider also belongs into proxySecrets', () => {
    expect(problems({ authProvider: new Custom({ OAUTH2_PROXY_GITHUB_TOKEN: 'a5f0' }) })).toEqual([`\`authProvider\` must not contain OAUTH2_PROXY_GITHUB_TOKEN, ${readable}: use \`proxySecrets\``]);
    expect(problems({ proxySecrets: { OAUTH2_PROXY_GITHUB_TOKEN: secret } })).toEqual([]);
    expect(problems({ proxySecrets: { OAUTH2_PROXY_CLIENT_SECRET: secret, OAUTH2_PROXY_GITHUB_ORG: secret } })).toEqual([
      '`proxySecrets` must not contain OAUTH2_PROXY_CLIENT_SECRET: use `authProvider`', '`proxySecrets` must not contain OAUTH2_PROXY_GITHUB_ORG: use `authProvider`',
    ]);
  });

  test.each([
    ['OPENAI_API_KEY_PATH', '/app/key'], ['GOOGLE_APPLICATION_CREDENTIALS', '/app/account.json'], ['MAX_TOKENS', '100'], ['TOKENIZERS_PARALLELISM', 'false'], ['MLFLOW_OPENAI_SECRET_SCOPE', 'scope'],
    ['KEY', 'x'], ['MONKEY', 'x'], ['SECRETARY', 'x'], ['USE_TOKEN', 'true'], ['ROTATE_SECRET', '0'], ['API_KEY', ''],
    ['MAX_TOKEN', '512'], ['PWD', '/tmp'], ['SORT_KEY', 'time'], ['SSH_PUBLIC_KEY', 'ssh-ed25519 AAAA'], ['MLFLOW_MYSQL_SSL_KEY', '/app/key'], ['BYPASS', 'x'], ['WEBHOOK_URLS', 'x'],
  ])('%s=%s is not a secret', (name, value) => {
    expect(problems({ environment: { [name]: value } })).toEqual([]);
  });

  test.each([
    'postgresql+psycopg2://reader:a5f0@replica.example.com/mlflow', 'redis://:a5f0@redis.example.com:6379/0', 'postgresql://replica.example.com/mlflow?user=reader&password=a5f0', 'rediss://user:a%40b@h',
  ])('a password in the URL %s is refused, regardless of the name', url => {
    for (const name of ['MLFLOW_READ_REPLICA_BACKEND_STORE_URI', 'MLFLOW_WORKSPACE_STORE_URI', 'MLFLOW_SERVER_JOB_HUEY_REDIS_URL', 'ANYTHING']) {
      expect(problems({ environment: { [name]: url } })).toEqual([`\`environment\` must not contain a password, got one in the URL ${name}, ${readable}: use \`secrets\``]);
    }
    expect(problems({ proxyEnvironment: { OAUTH2_PROXY_BANNER: url } }))
      .toEqual([`\`proxyEnvironment\` must not contain a password, got one in the URL OAUTH2_PROXY_BANNER, ${readable}: use \`proxySecrets\``]);
  });

  test.each(['postgresql+psycopg2://mlflow@replica.example.com:5432/mlflow', 'redis://redis.example.com:6379/0', 'https://example.com:8443/a@b', 'https://example.com/?q=a:b@c', 'a:b@c'])('%s contains no password', url => {
    expect(problems({ environment: { MLFLOW_READ_REPLICA_BACKEND_STORE_URI: url } })).toEqual([]);
  });
});

describe('a reference to a secret in plain text', () => {
  /** The errors of synthesis, when every value is known. */
  const said = (make: (stack: Stack) => Overrides) => {
    try {
      synthesise(make);
      return '';
    } catch (error) {
      return (error as Error).message;
    }
  };
  const password = (stack: Stack) => secretsmanager.Secret.fromSecretNameV2(stack, 'Plain', 'plain');

  test.each<[string, string, (stack: Stack) => string]>([
    ['environment', 'secrets', stack => password(stack).secretValue.unsafeUnwrap()],
    ['environment', 'secrets', stack => `https://${password(stack).secretValueFromJson('user').unsafeUnwrap()}.example.com`],
    ['environment', 'secrets', () => SecretValue.ssmSecure('/plain', '1').unsafeUnwrap()],
    ['environment', 'secrets', () => '{{resolve:secretsmanager:plain}}'],
    ['environment', 'secrets', stack => Lazy.string({ produce: () => password(stack).secretValue.unsafeUnwrap() })],
    ['proxyEnvironment', 'proxySecrets', stack => password(stack).secretValue.unsafeUnwrap()],
  ])('in %s is refused at synthesis: use %s', (prop, instead, value) => {
    expect(said(stack => ({ [prop]: { FOO: value(stack) } })))
      .toContain(`\`${prop}\` must not contain a secret, got a reference to one in FOO, which everybody with access to the task definition could read: use \`${instead}\``);
  });

  test.each<[string, (stack: Stack) => string]>([
    ['a parameter that is not a secret', stack => ssm.StringParameter.fromStringParameterAttributes(stack, 'Parameter', { parameterName: '/plain', version: 1 }).stringValue],
    ['the ARN of a secret', stack => password(stack).secretArn],
  ])('%s is accepted', (_, value) => {
    expect(said(stack => ({ environment: { FOO: value(stack) } }))).toBe('');
  });
});

describe('invalid names', () => {
  const none = (prop: string, name: string) => `\`${prop}\` must contain names of letters, digits and "_" that do not begin with a digit, got ${JSON.stringify(name)}: correct it, or leave it out`;

  test.each(['', 'A B', 'A=B', '1A', 'A-B', 'Ä', 'A\n', ' A'])('%j', name => {
    for (const prop of ['environment', 'proxyEnvironment']) {
      expect(problems({ [prop]: { [name]: 'x' } })).toEqual([none(prop, name)]);
    }
    for (const prop of ['secrets', 'proxySecrets']) {
      expect(problems({ [prop]: { [name]: secret } })).toEqual([none(prop, name)]);
    }
  });

  test.each(['A', '_', 'a1', 'SystemDrive', '__x__'])('%s is valid', name => {
    expect(problems({ environment: { [name]: 'x' }, proxySecrets: { [name]: secret } })).toEqual([]);
  });
});

describe('reasons match the name', () => {
  const reason = (prop: string, name: string) => problems({ [prop]: { [name]: 'x' } })[0].replace(`\`${prop}\` must not contain ${name}: `, '');

  test.each([
    ['environment', 'UVICORN_PORT', 'it could make the server listen elsewhere or trust forwarded headers; for the number of processes use `workers`'],
    ['environment', 'PYTHONUNBUFFERED', 'the construct sets it, so that log lines are written immediately; leave it out'],
    ['environment', 'MLFLOW_SERVER_ENABLE_CUSTOM_SCORERS', 'everybody who is signed in could run programs on the server, with access to the password of the database; run them outside the server'],
    ['environment', 'PYTHONPATH', 'Python finds the inner door with it; put code into your own image (`mlflowImage`)'],
    ['environment', 'PGPASSWORD', 'the construct creates the database and the connection to it; leave it out'],
    ['environment', 'FLASK_ENV', 'it is for development, with a debugger; leave it out'],
    ['proxyEnvironment', 'OAUTH2_PROXY_COOKIE_SECRET', 'the construct generates it as a secret; leave it out'],
    ['proxyEnvironment', 'OAUTH2_PROXY_COOKIE_SECRET_FILE', 'the construct generates it as a secret; leave it out'],
    ['proxyEnvironment', 'OAUTH2_PROXY_COOKIE_CSRF_EXPIRE', 'it is the maximum duration of a sign-in, an hour; leave it out'],
    ['proxyEnvironment', 'OAUTH2_PROXY_COOKIE_DOMAINS', 'cookies are bound to `domainName` and TLS, and scripts cannot read them; leave it out'],
  ])('%s: %s', (prop, name, expected) => {
    expect(reason(prop, name)).toBe(expected);
  });

  test.each([
    ['OAUTH2_PROXY_CLIENT_SECRET', 'clientSecret'], ['OAUTH2_PROXY_CLIENT_SECRET_FILE', 'clientSecret'], ['OAUTH2_PROXY_CLIENT_ID', 'clientId'], ['OAUTH2_PROXY_SKIP_JWT_BEARER_TOKENS', 'bearerTokens'],
  ])('the error for a custom provider says where %s belongs', (name, option) => {
    expect(problems({ authProvider: new Custom({ [name]: 'x' }) })).toEqual([`\`authProvider\` must not contain ${name}: use \`${option}\` of the config that \`bind\` returns`]);
  });
});

describe('a value that is not an ecs.Secret', () => {
  // The value may be a secret, so it is never shown.
  test.each([['a5f0', 'string'], [SecretValue.unsafePlainText('a5f0'), 'object'], [undefined, 'undefined'], [null, 'object']])('fails in secrets and proxySecrets: %j', (value, type) => {
    for (const prop of ['secrets', 'proxySecrets']) {
      expect(problems({ [prop]: { ONE: value } } as Overrides)).toEqual([`\`${prop}\`: ONE must be an ecs.Secret, got a value of type ${type}: use \`ecs.Secret.fromSecretsManager(…)\` or \`fromSsmParameter(…)\``]);
    }
  });
});

describe('whether the server has jobs', () => {
  test.each(['yes', '', 'on', 'true ', '2'])('fails for %j', value => {
    expect(problems({ environment: { MLFLOW_SERVER_ENABLE_JOB_EXECUTION: value } }))
      .toEqual([`\`environment\`: MLFLOW_SERVER_ENABLE_JOB_EXECUTION must be "true" or "false", got ${JSON.stringify(value)}: MLflow accepts no other value; leave it out for "false"`]);
  });

  test.each(['true', 'False', '1', '0', Lazy.string({ produce: () => 'yes' })])('may be %s', value => {
    expect(problems({ environment: { MLFLOW_SERVER_ENABLE_JOB_EXECUTION: value } })).toEqual([]);
  });
});

describe('secrets', () => {
  const own = () => {
    const stack = newStack();
    const ofMlflow = new secretsmanager.Secret(stack, 'OfMlflow');
    const ofProxy = new secretsmanager.Secret(stack, 'OfProxy');
    const { template } = synthesise({
      cleanUp: undefined,
      secrets: { OPENAI_API_KEY: ecs.Secret.fromSecretsManager(ofMlflow, 'key') },
      proxySecrets: { OAUTH2_PROXY_SIGNATURE_KEY: ecs.Secret.fromSecretsManager(ofProxy) },
    }, stack);
    return { template, mlflow: stack.resolve(ofMlflow.secretArn), proxy: stack.resolve(ofProxy.secretArn) };
  };

  test('each is a secret of the right containers, and of no other', () => {
    const { template, mlflow, proxy } = own();
    const key = { 'Fn::Join': ['', [mlflow, ':key::']] };
    expect(secretsOf(template, 'mlflow')).toMatchObject({ OPENAI_API_KEY: key });
    expect(secretsOf(template, 'mlflow')).toHaveProperty('MLFLOW_CRYPTO_KEK_PASSPHRASE');
    expect(secretsOf(template, 'oauth2-proxy')).toMatchObject({ OAUTH2_PROXY_SIGNATURE_KEY: proxy });
    expect(Object.keys(secretsOf(template, 'oauth2-proxy')).sort()).toEqual(['OAUTH2_PROXY_CLIENT_SECRET', 'OAUTH2_PROXY_COOKIE_SECRET', 'OAUTH2_PROXY_SIGNATURE_KEY']);
    expect(Object.keys(secretsOf(template, 'prepare'))).toEqual(['PGPASSWORD']);
  });

  test('the execution role may read them', () => {
    const { template, mlflow, proxy } = own();
    const readable = statementsOf(template, 'ExecutionRole').filter(({ Action }) => Action.includes('secretsmanager:GetSecretValue')).map(({ Resource }) => Resource);
    expect(readable).toEqual(expect.arrayContaining([mlflow, proxy]));
  });

  test.each<[string, Overrides]>([
    ['`secrets` must not contain MLFLOW_TRACKING_USERNAME, which `environment` also contains', { secrets: { MLFLOW_TRACKING_USERNAME: secret }, environment: { MLFLOW_TRACKING_USERNAME: 'me' } }],
    ['`proxySecrets` must not contain OAUTH2_PROXY_BANNER, which `proxyEnvironment` also contains',
      { proxySecrets: { OAUTH2_PROXY_BANNER: secret }, proxyEnvironment: { OAUTH2_PROXY_BANNER: 'x' } }],
    ['`proxySecrets` must not contain OAUTH2_PROXY_PROMPT, which `authProvider` also contains', { proxySecrets: { OAUTH2_PROXY_PROMPT: secret }, authProvider: new Custom({ OAUTH2_PROXY_PROMPT: 'login' }) }],
  ])('one is given once: %s', (problem, props) => {
    expect(problems(props)).toEqual([`${problem}: leave one of them out`]);
  });

  test.each(['MLFLOW_DISABLE_TELEMETRY', 'MLFLOW_SQLALCHEMYSTORE_POOL_SIZE', 'MLFLOW_SERVER_ENABLE_JOB_EXECUTION'])('%s has a plain value and is not a secret', name => {
    expect(problems({ secrets: { [name]: secret } })).toEqual([`\`secrets\` must not contain ${name}: it is not a secret; use \`environment\``]);
  });

  test('a name that is a CDK token is not checked', () => {
    const name = Lazy.string({ produce: () => 'MLFLOW_LAZY' });
    expect(secretsOf(synthesise({ secrets: { [name]: secret } }).template, 'mlflow')).toHaveProperty('MLFLOW_LAZY');
    expect(problems({ environment: { [`${name}_API_KEY`]: 'a5f0' } })).toEqual([]);
  });
});

describe('how long the URL of a download works', () => {
  const MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS = (value: string) => ({ environment: { MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS: value } });

  test.each(['0', '3601', '604800', '-1', '1.5', '', 'an hour', '1e3'])('fails for %j', value => {
    expect(problems(MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS(value)))
      .toEqual([`\`environment\`: MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS must be whole seconds, 1 to 3600, got ${JSON.stringify(value)}: anyone with the URL of a file can use it during that time`]);
  });

  test.each(['1', '900', '3600', Lazy.string({ produce: () => '604800' })])('may be %s', value => {
    expect(problems(MLFLOW_PRESIGNED_DOWNLOAD_URL_TTL_SECONDS(value))).toEqual([]);
  });
});

// Python reads the names in any letter case.
test.each(['HTTP_PROXY', 'HTTPS_PROXY', 'ALL_PROXY', 'NO_PROXY', 'http_proxy', 'https_proxy', 'all_proxy', 'no_proxy', 'Https_Proxy'])('%s belongs to networkProxy', name => {
  const refusal = (prop: string) => [`\`${prop}\` must not contain ${name}: use \`networkProxy\`, which applies to every container`];
  expect(problems({ environment: { [name]: 'x' } })).toEqual(refusal('environment'));
  expect(problems({ proxyEnvironment: { [name]: 'x' } })).toEqual(refusal('proxyEnvironment'));
  expect(problems({ secrets: { [name]: secret } })).toEqual(refusal('secrets'));
  expect(problems({ proxySecrets: { [name]: secret } })).toEqual(refusal('proxySecrets'));
});

test('names that only look similar do not', () => {
  expect(problems({ environment: { HTTPS_PROXY_PORT: 'x', MY_HTTP_PROXY: 'x' } })).toEqual([]);
});
