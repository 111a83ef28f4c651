import type { AuthProviderBindOptions, AuthProviderConfig } from './config';
import { known } from '../checks/problems';

/** Returns the settings of a provider for a deployment. */
export type Configure = (options: AuthProviderBindOptions) => AuthProviderConfig;

/** Always set explicitly: with allowed groups oauth2-proxy would otherwise add the scope `groups`, which several providers reject. */
export const DEFAULT_SCOPE = 'openid email profile';

/** The scope for which most providers issue a refresh token. Some providers reject it. */
export const OFFLINE_ACCESS = 'offline_access';

/** The URL of the server as a value in a query. The host needs no escaping and may be a CDK token. */
export function escapedUrl(url: string): string {
  return url.replace('https://', 'https%3A%2F%2F');
}

export function requireId(name: string, value: string): void {
  if (known(value) && value.trim() === '') {
    throw new Error(`${name} must not be empty, got ${JSON.stringify(value)}: use the id of the OAuth client that you registered at the provider`);
  }
}

export function requireOrigin(name: string, url: string | undefined, example: string): void {
  if (known(url) && !/^https:\/\/[a-z0-9.-]+(:\d+)?$/.test(url)) {
    throw new Error(`${name} must be https:// and a host in lower case, such as "${example}", got ${JSON.stringify(url)}: leave out the path and the trailing slash`);
  }
}

export function firstMisspelt(pattern: RegExp, entries?: string[]): string | undefined {
  return known(entries) ? entries.find(entry => known(entry) && !pattern.test(entry)) : undefined;
}

/** oauth2-proxy splits lists at commas and has no escape for them. An empty list would mean that there is no rule. */
export function requireList(name: string, entries?: string[]): void {
  if (known(entries) && (entries.length === 0 || entries.some(entry => known(entry) && (entry.trim() === '' || entry.includes(','))))) {
    throw new Error(`${name} must contain at least one entry, each without a comma, got ${JSON.stringify(entries)}: leave it out for no restriction`);
  }
}

/** Whether anyone can have an account, if known. Where groups or roles decide, this does not matter. */
export function openTo(openToPublic: boolean | undefined, ...rules: (string[] | undefined)[]): Pick<AuthProviderConfig, 'openToPublic'> {
  const open = rules.some(rule => rule !== undefined) ? false : openToPublic;
  return open === undefined ? {} : { openToPublic: open };
}
