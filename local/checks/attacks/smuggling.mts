/**
 * Ambiguous requests, sent directly to the proxy. There is no load balancer of AWS here, so the proxy must reject them itself. They contain a
 * good bearer token, so that a smuggled request would get a visible answer.
 */

import assert from 'node:assert/strict';
import type { SignInSuite } from './suite.mjs';
import { raw } from '../../clients/http.mjs';
import { search } from '../api.mjs';

export async function requestsSmuggleNothingIn(suite: SignInSuite): Promise<void> {
  const { checks, deployment } = suite;
  const { proxyUrl } = deployment;
  const signed = `Authorization: Bearer ${await deployment.issuer.key.sign(suite.claims())}`;
  const inner = `GET ${search} HTTP/1.1\r\nHost: x\r\n${signed}\r\n\r\n`;
  const chunked = `${inner.length.toString(16)}\r\n${inner}\r\n0\r\n\r\n`;
  const gotIn = '"experiments"';
  checks.heading('No request is smuggled in');
  await checks.check('(a request without a flaw is accepted)', async () => {
    const answer = await raw(proxyUrl, inner);
    assert(answer.includes(gotIn), answer.slice(0, 500));
  });
  // By the rules of HTTP, the chunks count and the rest is another request. So only the load balancer prevents two requests in one: in the
  // mode `defensive` it forwards such a request on a connection that it then closes. See docs/security.md.
  await checks.check('(CL.TE: the proxy treats the rest as a separate request, which needs its own bearer token)', async () => {
    const both = (rest: string) => `POST /ping HTTP/1.1\r\nHost: x\r\nContent-Length: ${rest.length + 5}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n${rest}`;
    assert((await raw(proxyUrl, both(inner))).includes(gotIn));
    assert(!(await raw(proxyUrl, both(inner.replace(`${signed}\r\n`, '')))).includes(gotIn));
  });
  for (const [title, message] of [
    ['TE.CL', `POST /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n${chunked}`],
    ['TE.TE with a spelling', `POST /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: xchunked\r\n\r\n${chunked}`],
    ['two lengths', `POST /ping HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: ${inner.length}\r\n\r\n${inner}`],
    ['two hosts', `GET ${search} HTTP/1.1\r\nHost: x\r\nHost: 127.0.0.1:5000\r\n${signed}\r\n\r\n`],
    ['a header of 2 MB', `GET ${search} HTTP/1.1\r\nHost: x\r\n${signed}\r\nX-Long: ${'x'.repeat(2_000_000)}\r\n\r\n`],
    ['a header with a blank in its name', `GET ${search} HTTP/1.1\r\nHost: x\r\n${signed}\r\nX-Forwarded-Email : someone@example.com\r\n\r\n`],
    ['a whole URL as path, without a bearer token', `GET http://127.0.0.1:5000${search} HTTP/1.1\r\nHost: x\r\n\r\n`],
  ]) {
    await checks.check(title, async () => {
      const answer = await raw(proxyUrl, message);
      assert(!answer.includes(gotIn), answer.slice(0, 500));
      return answer.split('\r\n')[0] || 'closed';
    });
  }
}
