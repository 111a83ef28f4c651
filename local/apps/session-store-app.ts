/** The quick start with sessions on the server: local/checks/sessions.mts copies cookies, signs out and stops the store. */

import { SessionStore } from 'cdk-secure-mlflow';
import { quickStartWith } from './quick-start-variant';

quickStartWith('Sessions', { sessionStore: SessionStore.valkey() });
