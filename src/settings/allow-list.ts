import { Fn, Token } from 'aws-cdk-lib';

/** A name that no group, role, team or domain can have. It contains a colon, because oauth2-proxy rejects a GitHub team without one. */
const NOBODY = 'nobody:nobody';

/** A list for oauth2-proxy, for which an empty list means no rule. If the list could be empty at deployment, an entry is added that allows no one. */
export function allowList(entries: string[]): string {
  const list = Fn.join(',', entries);
  return Token.isUnresolved(entries) || entries.some(entry => Token.isUnresolved(entry)) ? Fn.join(',', [list, NOBODY]) : list;
}
