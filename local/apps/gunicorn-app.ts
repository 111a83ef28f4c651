/** The quick start under gunicorn: bench/ measures it beside the one without. */

import { quickStartWith } from './quick-start-variant';

quickStartWith('Gunicorn', { gunicornOpts: '--threads 8' });
