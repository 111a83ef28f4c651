/** The quick start with levels, for scripts/screenshots.mts: one person may write, everybody else reads. */

import { AccessLevel } from 'cdk-secure-mlflow';
import { quickStartWith } from './quick-start-variant';

quickStartWith('Screenshots', {
  access: { admins: { people: ['someone@example.com'] }, everybody: AccessLevel.READER },
});
