import { Fn, Token, Tokenization } from 'aws-cdk-lib';
import type { NetworkProxyOptions } from '../props';

/** Settings of every container if the tasks reach the internet through a proxy of the network. Facts about each are in docs/settings.md. */

/** Names of proxy variables. Python reads them in any letter case. */
export const NETWORK_PROXY = /^(https?|all|no)_proxy$/i;

/** The task itself, and the address of the credentials of its role. */
const WITHIN = ['127.0.0.1', 'localhost', '169.254.170.2'];

/** A host includes its subdomains, and therefore each bucket. Requests in us-east-1 use the host without a region. */
function s3Hosts(region: string): string[] {
  return [`s3.${region}.amazonaws.com`, 's3.amazonaws.com'];
}

export function networkProxyEnvironment(region: string, options?: NetworkProxyOptions): Record<string, string> {
  if (options === undefined) {
    return {};
  }
  const { host, port, noProxy = s3Hosts(region) } = options;
  const url = `http://${host}:${Tokenization.stringifyNumber(port)}`;
  const past = Token.isUnresolved(noProxy) ? [Fn.join(',', noProxy)] : noProxy;
  return { HTTP_PROXY: url, HTTPS_PROXY: url, NO_PROXY: [...WITHIN, ...past].join(',') };
}
