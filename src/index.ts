export * from './auth-provider';
export * from './secure-mlflow';
export * from './token-issuer';
