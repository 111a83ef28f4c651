/** Imported before oidc-provider, whose advice on stderr is for those who run it in earnest. */

const { info, warn } = console;
console.warn = (...text) => String(text[0]).includes('oidc-provider WARNING') ? undefined : warn(...text);
console.info = (...text) => String(text[0]).includes('oidc-provider NOTICE') ? undefined : info(...text);
