import type { AuthProviderBindOptions, AuthProviderConfig } from './config';
import { known } from '../checks/problems';

/** What a provider contributes, once the deployment is known. */
export type Configure = (options: AuthProviderBindOptions) => AuthProviderConfig;

/** Written out everywhere, because with allowed groups oauth2-proxy would add the scope `groups`, which several providers refuse. */
export const DEFAULT_SCOPE = 'openid email profile';

/** The scope for which most providers give a refresh token; others refuse it. */
export const OFFLINE_ACCESS = 'offline_access';

/** The address of the server as a value in a query. Its host needs no escaping and may be a CDK token. */
export function escapedUrl(url: string): string {
  return url.replace('https://', 'https%3A%2F%2F');
}

export function requireId(name: string, value: string): void {
  if (known(value) && value.trim() === '') {
    throw new Error(`${name} must not be empty, got ${JSON.stringify(value)}: use the id of the OAuth client registered at the provider`);
  }
}

export function requireOrigin(name: string, url: string | undefined, example: string): void {
  if (known(url) && !/^https:\/\/[a-z0-9.-]+(:\d+)?$/.test(url)) {
    throw new Error(`${name} must be https:// and a host in lower case, such as "${example}", got ${JSON.stringify(url)}: leave out the path and the slash at the end`);
  }
}

export function firstMisspelt(pattern: RegExp, entries?: string[]): string | undefined {
  return known(entries) ? entries.find(entry => known(entry) && !pattern.test(entry)) : undefined;
}

/** oauth2-proxy splits lists at commas and knows no escape; an empty list would mean no rule at all. */
export function requireList(name: string, entries?: string[]): void {
  if (known(entries) && (entries.length === 0 || entries.some(entry => known(entry) && (entry.trim() === '' || entry.includes(','))))) {
    throw new Error(`${name} must hold at least one entry, each without a comma, got ${JSON.stringify(entries)}: leave it out for no restriction`);
  }
}

/** What is known of who can have an account; where groups or roles decide, that does not matter. */
export function openTo(openToPublic: boolean | undefined, ...rules: (string[] | undefined)[]): Pick<AuthProviderConfig, 'openToPublic'> {
  const open = rules.some(rule => rule !== undefined) ? false : openToPublic;
  return open === undefined ? {} : { openToPublic: open };
}
