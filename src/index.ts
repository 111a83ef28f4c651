export * from './auth-provider';
export type { AlarmThreshold, MonitoringOptions, MonitoringThresholds } from './monitoring';
export * from './secure-mlflow';
export * from './token-issuer';
