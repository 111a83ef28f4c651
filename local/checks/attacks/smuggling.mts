/**
 * Ambiguous requests, sent raw to the proxy: the load balancer of AWS is not here, so the proxy has to refuse by itself. They hold a
 * good token, so that whatever is taken for a request of its own gets an answer that shows.
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
  checks.heading('Requests that smuggle nothing in');
  await checks.check('(a request without a flaw gets in)', async () => {
    const answer = await raw(proxyUrl, inner);
    assert(answer.includes(gotIn), answer.slice(0, 500));
  });
  // As HTTP has it, the chunks count and what follows is a request. So two in one are kept apart by the load balancer alone: in the mode
  // `defensive` it forwards such a request on a connection that it then closes. docs/security.md says so.
  await checks.check('(CL.TE: the proxy takes the rest for a request of its own, which needs a token of its own)', async () => {
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
    ['a whole address as path, without a token', `GET http://127.0.0.1:5000${search} HTTP/1.1\r\nHost: x\r\n\r\n`],
  ]) {
    await checks.check(title, async () => {
      const answer = await raw(proxyUrl, message);
      assert(!answer.includes(gotIn), answer.slice(0, 500));
      return answer.split('\r\n')[0] || 'closed';
    });
  }
}
