export * from './auth-provider';
export type { AlarmThreshold, MonitoringOptions, MonitoringThresholds } from './monitoring';
export * from './secure-mlflow';
export { SessionStore } from './session-store';
export type { ExistingSessionStoreOptions } from './session-store';
export * from './token-issuer';
