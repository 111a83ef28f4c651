/** The quick start behind a proxy of the network, with every kind of container: local/checks/network-proxy.mts checks which requests go through the proxy. */

import { Duration } from 'aws-cdk-lib';
import { DatabaseAuthentication } from 'cdk-secure-mlflow';
import { quickStartWith } from './quick-start-variant';

quickStartWith('NetworkProxy', {
  networkProxy: { host: 'proxy.example.com', port: 3128 },
  databaseAuthentication: DatabaseAuthentication.IAM,
  cleanUp: { olderThan: Duration.days(30) },
});
