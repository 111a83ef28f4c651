/** Imported before oidc-provider, whose warnings on stderr are for production use. */

const { info, warn } = console;
console.warn = (...text) => String(text[0]).includes('oidc-provider WARNING') ? undefined : warn(...text);
console.info = (...text) => String(text[0]).includes('oidc-provider NOTICE') ? undefined : info(...text);
