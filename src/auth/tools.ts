import { Fn } from 'aws-cdk-lib';
import type { ToolsClient } from './config';
import { isGoogle } from './public-issuers';
import { requireId } from './rules';
import { known } from '../checks/problems';

/** Options of providers where people's tools can sign in. */
export interface ToolsClientOptions {
  /**
   * Id of a second OAuth client, with which `mlflow-secure-tracking login` signs people in from a terminal or a notebook. Register it at the provider as a public
   * (native) client without a secret, only for this server. Its redirect URLs are `http://localhost:18417/<domainName>` and the same with 18418 and 18419.
   *
   * The load balancer then returns the issuer, this id and the scopes at `/.well-known/mlflow-secure-tracking`, without a sign-in. ID tokens for this client are
   * accepted as bearer tokens. The rules for access, groups and levels are the same as in the browser.
   *
   * @default - people's tools cannot sign in
   * @see https://github.com/cdk-secure-mlflow/cdk-secure-mlflow/blob/main/docs/tokens.md#sign-in-from-a-terminal-or-a-notebook
   */
  readonly toolsClientId?: string;
}

/** Providers compare redirect URLs exactly. The tools use the first of these ports that is free. */
const TOOLS_PORTS = [18417, 18418, 18419];

/** Where the tools wait for the redirect. The path contains the host of the server: the provider rejects a server that uses the client of another one. */
export function toolsRedirectUrls(url: string): string[] {
  return TOOLS_PORTS.map(port => `http://localhost:${port}/${Fn.select(2, Fn.split('/', url))}`);
}

export function checkToolsClient(factory: string, issuerUrl: string, toolsClientId?: string): void {
  if (toolsClientId === undefined) {
    return;
  }
  requireId(`${factory}: \`toolsClientId\``, toolsClientId);
  if (known(toolsClientId) && /[\s,]/.test(toolsClientId)) { // oauth2-proxy splits the list of audiences at commas
    throw new Error(`${factory}: \`toolsClientId\` must be one client id without commas and spaces, got ${JSON.stringify(toolsClientId)}: use the id of the public client that you registered at the provider`);
  }
  if (isGoogle(issuerUrl)) {
    throw new Error(`${factory}: \`toolsClientId\` must be left out for Google, which does not support clients without a secret, got ${JSON.stringify(toolsClientId)}: use \`TokenIssuer.gcloud()\``);
  }
}

/** The settings of a provider for the tools client. */
export function toolsClient(issuerUrl: string, scope: string, clientId?: string): { readonly toolsClient?: ToolsClient } {
  return clientId === undefined ? {} : { toolsClient: { issuerUrl, clientId, scope } };
}

/** The path at which the load balancer tells tools how to sign in, without a session. */
export const TOOLS_PATH = '/.well-known/mlflow-secure-tracking';

/** The answer at that path. It contains no secrets. */
export function toolsAnswer({ issuerUrl, clientId, scope }: ToolsClient): Record<string, string> {
  return { issuer: issuerUrl, client_id: clientId, scope };
}
