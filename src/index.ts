export * from './auth-provider';
export * from './metrics';
export * from './monitoring-options';
export * from './secure-mlflow';
export { SessionStore } from './session-store';
export type { ExistingSessionStoreOptions } from './session-store';
export * from './token-issuer';
