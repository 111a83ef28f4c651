/** A person without a screen: follows redirects, keeps cookies, fills in the provider's sign-in page. */

import { request, type APIRequestContext, type APIResponse } from 'playwright-core';

/** Of a session that is in the cookie, or of its id; a long one is in several, with numbers. */
export const sessionCookieName = '__Host-oauth2_proxy';

/** Not a cookie of a sign-in that was begun. */
export function isSessionCookie(name: string): boolean {
  return new RegExp(`^${sessionCookieName}(_\\d+)?$`).test(name);
}

/** Of the page for who has not signed in. */
const signInTitle = '<title>Sign in</title>';
const startLink = /<a href="(\/oauth2\/start\?[^"]*)">/;

export class Person {
  static async meet(email: string): Promise<Person> {
    // Certificates are verified by the SDK and by curl, with the CA file; here they are taken as they are.
    return new Person(email, await request.newContext({ ignoreHTTPSErrors: true }));
  }

  /** With the cookies collected so far; for single requests that follow no redirect. */
  readonly http: APIRequestContext;

  private constructor(private readonly email: string, http: APIRequestContext) {
    this.http = http;
  }

  /** Opens an address and signs in where asked to; ends at a page, or at a redirect to an address that begins with `stopBefore`. */
  async open(url: string, stopBefore?: string): Promise<{ url: string; status: number; text: string }> {
    let response: APIResponse = await this.http.get(url, { maxRedirects: 0 });
    for (let hop = 0; hop < 20; hop += 1) {
      const { location } = response.headers();
      if (location !== undefined) {
        const next = new URL(location, response.url()).href;
        if (stopBefore !== undefined && next.startsWith(stopBefore)) {
          return { url: next, status: response.status(), text: '' };
        }
        response = await this.http.get(next, { maxRedirects: 0 });
      } else if (response.status() === 403 && (await response.text()).includes(signInTitle)) {
        const [, link] = startLink.exec(await response.text()) ?? [];
        if (link === undefined) {
          throw new Error(`the sign-in page at ${response.url()} has no link to the provider`);
        }
        response = await this.http.get(new URL(link, response.url()).href, { maxRedirects: 0 }); // as its script does
      } else if (new URL(response.url()).pathname.startsWith('/interaction/')) {
        response = await this.http.post(response.url(), { form: { email: this.email }, maxRedirects: 0 });
      } else {
        return { url: response.url(), status: response.status(), text: await response.text() };
      }
    }
    throw new Error(`too many redirects from ${url}`);
  }

  /** The cookies of her session, as a request sends them. */
  async sessionCookie(): Promise<string> {
    const { cookies } = await this.http.storageState();
    return cookies.filter(({ name }) => isSessionCookie(name)).map(({ name, value }) => `${name}=${value}`).join('; ');
  }

  async leave(): Promise<void> {
    await this.http.dispose();
  }
}

/** The cookies of a session that somebody has begun at the page. */
export async function sessionCookie(url: string, email: string): Promise<string> {
  const person = await Person.meet(email);
  await person.open(`${url}/`);
  const cookie = await person.sessionCookie();
  await person.leave();
  return cookie;
}
