/** Imported before oidc-provider, whose advice on stderr is for those who run it in earnest. */

const { warn } = console;
console.warn = (...text) => String(text[0]).includes('oidc-provider WARNING') ? undefined : warn(...text);
