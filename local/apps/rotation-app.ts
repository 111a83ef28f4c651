/** The quick start with IAM authentication for the database: local/checks/rotation.mts changes the password every few seconds. */

import { DatabaseAuthentication } from 'cdk-secure-mlflow';
import { quickStartWith } from './quick-start-variant';

quickStartWith('Rotation', {
  databaseAuthentication: DatabaseAuthentication.IAM,
  environment: { MLFLOW_SQLALCHEMYSTORE_POOL_RECYCLE: '1' }, // a connection is used for one second, so that every token is needed
});
