/** Simulates a person without a browser: follows redirects, keeps cookies, fills in the provider's sign-in page. */

import { request, type APIRequestContext, type APIResponse } from 'playwright-core';

/** The cookie of a session, or of its id. A long session has several cookies with numbers. */
export const sessionCookieName = '__Host-oauth2_proxy';

/** False for the cookie of a sign-in that has not finished. */
export function isSessionCookie(name: string): boolean {
  return new RegExp(`^${sessionCookieName}(_\\d+)?$`).test(name);
}

/** The title of the page for people who have not signed in. */
const signInTitle = '<title>Sign in</title>';
const startLink = /<a href="(\/oauth2\/start\?[^"]*)">/;

export class Person {
  static async meet(email: string): Promise<Person> {
    // The SDK and curl verify certificates with the CA file. Here they are not verified.
    return new Person(email, await request.newContext({ ignoreHTTPSErrors: true }));
  }

  /** Sends single requests with the current cookies. */
  readonly http: APIRequestContext;

  private constructor(private readonly email: string, http: APIRequestContext) {
    this.http = http;
  }

  /** Opens a URL and signs in if necessary. Ends at a page, or before a redirect to a URL that begins with `stopBefore`. */
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
        response = await this.http.get(new URL(link, response.url()).href, { maxRedirects: 0 }); // as the script of the page does
      } else if (new URL(response.url()).pathname.startsWith('/interaction/')) {
        response = await this.http.post(response.url(), { form: { email: this.email }, maxRedirects: 0 });
      } else {
        return { url: response.url(), status: response.status(), text: await response.text() };
      }
    }
    throw new Error(`too many redirects from ${url}`);
  }

  /** The cookies of the session, as a request sends them. */
  async sessionCookie(): Promise<string> {
    const { cookies } = await this.http.storageState();
    return cookies.filter(({ name }) => isSessionCookie(name)).map(({ name, value }) => `${name}=${value}`).join('; ');
  }

  async leave(): Promise<void> {
    await this.http.dispose();
  }
}

/** Signs a person in at the page and returns the cookies of the session. */
export async function sessionCookie(url: string, email: string): Promise<string> {
  const person = await Person.meet(email);
  await person.open(`${url}/`);
  const cookie = await person.sessionCookie();
  await person.leave();
  return cookie;
}
