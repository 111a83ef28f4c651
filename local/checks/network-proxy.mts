/** A task that reaches the internet only through a proxy of the network: which requests go through it, and which must not. */

import assert from 'node:assert/strict';
import { execa } from 'execa';
import type { Checks } from './checks.mjs';
import { signsIn } from './people.mjs';
import { bearer, deadAddress, type Send } from '../clients/http.mjs';
import { Person } from '../clients/person.mjs';
import type { Deployment } from '../deployment.mjs';

const truststore = 'truststore.pki.rds.amazonaws.com:443';
const provider = 'accounts.google.com:443';

export async function checkNetworkProxy(checks: Checks, deployment: Deployment, send: Send, token: string): Promise<void> {
  const { asked } = deployment.networkProxy!;
  /** The hosts that the proxy was asked for during `use`. */
  async function askedBy(use: () => Promise<unknown>): Promise<string[]> {
    const before = asked.length;
    await use();
    return [...new Set(asked.slice(before))];
  }

  checks.heading('Behind a proxy of the network');
  await checks.check('the task starts: only the certificates for prepare and the requests of oauth2-proxy to the sign-in provider go through it', async () => {
    // By substitution the provider is on the loopback, which never goes through the proxy.
    assert.deepEqual([...new Set(asked)], [truststore, ...deployment.verbatim ? [provider] : []]);
    return asked.join();
  });
  await checks.check('if it does not answer, prepare fails and cannot get the certificates', async () => {
    const reason = await deployment.runScheduledTask({ HTTP_PROXY: deadAddress, HTTPS_PROXY: deadAddress });
    assert.match(reason, /FAILED: cannot get the CA bundle of the database/);
  });
  await checks.check('the scheduled clean-up uses it, too', async () => {
    assert.deepEqual(await askedBy(async () => assert.match(await deployment.runScheduledTask(), /^essential container clean-up ended: exit code 0/)), [truststore]);
  });
  await checks.check('the health checks do not use it, whatever NO_PROXY contains', async () => {
    const checked = deployment.containers.filter(({ definition }) => definition.HealthCheck);
    assert.deepEqual(checked.map(({ definition: { Name } }) => Name), ['mlflow', 'database-token']);
    for (const container of checked) {
      const { Name, HealthCheck } = container.definition;
      const { succeeded } = await deployment.place.run(container, HealthCheck!.Command.slice(1), 10, { HTTP_PROXY: deadAddress, NO_PROXY: '' });
      assert(succeeded, Name);
    }
  });
  await checks.check('with its settings, a person can sign in, and an artifact is stored and read back; requests to S3 do not use it', async () => {
    assert.deepEqual(await askedBy(async () => {
      const person = await Person.meet('someone@example.com');
      await signsIn(person, deployment.url);
      await person.leave();
      const path = '/api/2.0/mlflow-artifacts/artifacts/network-proxy/note.txt';
      assert.equal((await send(path, { method: 'PUT', headers: bearer(token), body: 'stored' })).status, 200);
      assert.equal((await send(path, { headers: bearer(token) })).body, 'stored');
    }), deployment.verbatim ? [provider] : []);
  });
  await checkLibraries(checks, deployment);
  await checks.check('oauth2-proxy reaches the sign-in provider through it', async () => {
    // The stand-in has another issuer name, and its other URLs are on the loopback, which Go never sends to a proxy.
    const real = deployment.verbatim ? {} : {
      OAUTH2_PROXY_OIDC_ISSUER_URL: `https://${provider.split(':')[0]}`, OAUTH2_PROXY_INSECURE_OIDC_SKIP_ISSUER_VERIFICATION: 'true', OAUTH2_PROXY_EXTRA_JWT_ISSUERS: undefined,
    };
    assert.deepEqual(await askedBy(async () => (await deployment.startProxy(real)).stop()), [provider]);
    await assert.rejects(deployment.startProxy({ ...real, HTTPS_PROXY: deadAddress }), /did not start/);
    return 'does not start if the proxy does not answer';
  });
}

/** How the libraries of the server read NO_PROXY. */
async function checkLibraries(checks: Checks, deployment: Deployment): Promise<void> {
  const { region } = deployment.template;
  for (const [host, past] of [
    [`bucket.s3.${region}.amazonaws.com`, true], [`s3.${region}.amazonaws.com`, true], ['bucket.s3.amazonaws.com', true], ['169.254.170.2', true], ['localhost', true],
    [`sts.${region}.amazonaws.com`, false], ['hooks.example.org', false], ['bucket-of-s3.amazonaws.com', false],
  ] as const) {
    await checks.check(`the libraries of the server reach ${host} ${past ? 'directly' : 'through it'}`, async () => {
      const { env, command } = deployment.container('database-token');
      const script = 'import sys, botocore.utils, requests.utils; print(*(bool(find(sys.argv[1])) for find in (botocore.utils.get_environ_proxies, requests.utils.get_environ_proxies)))';
      const { stdout } = await execa(command[0], ['-c', script, `https://${host}/`], { cwd: '/', env, extendEnv: false });
      assert.equal(stdout, past ? 'False False' : 'True True');
    });
  }
}
