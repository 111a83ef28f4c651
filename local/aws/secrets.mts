/** A stand-in for Secrets Manager and Parameter Store: a random value for each secret and run, by the rules in the template. */

import { randomInt } from 'node:crypto';
import type { Template } from './template.mjs';

interface GenerateSecretString {
  readonly PasswordLength?: number;
  readonly ExcludeCharacters?: string;
  readonly ExcludePunctuation?: boolean;
  readonly SecretStringTemplate?: string;
  readonly GenerateStringKey?: string;
}

interface SecretProperties {
  readonly GenerateSecretString: GenerateSecretString;
  readonly SecretString?: string;
}

const lettersAndDigits = 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789';
const punctuation = '!"#$%&\'()*+,-./:;<=>?@[\\]^_`{|}~';

export class Secrets {
  private readonly strings = new Map<string, string>();

  constructor(template: Template) {
    for (const id of template.ids('AWS::SecretsManager::Secret')) {
      const { GenerateSecretString: rules, SecretString } = template.properties<SecretProperties>(id);
      this.strings.set(id, SecretString ?? generate(rules));
    }
  }

  /** Resolves `valueFrom` of a container's secret: the ARN of a secret with an optional JSON key, or of a parameter. */
  valueFrom(arn: string): string {
    const [, , service, , , ...rest] = arn.split(':');
    return service === 'secretsmanager' ? this.secret(rest[1], rest[2]) : this.secret(rest.join(':'));
  }

  /** Resolves a dynamic reference in a property, `{{resolve:secretsmanager:ARN:SecretString:key::}}`. Other text is unchanged. */
  resolve(text: string): string {
    return text.replace(/\{\{resolve:secretsmanager:(.+):SecretString:([^:}]*)[^}]*\}\}/, (_, arn, key) => this.secret(arn.split(':')[6], key));
  }

  private secret(name: string, key?: string): string {
    const generated = this.strings.get(name);
    if (generated !== undefined) {
      return key ? JSON.parse(generated)[key] : generated;
    }
    // Not created by the template: the person who deploys has created it.
    const id = `${name}:${key ?? ''}`;
    if (!this.strings.has(id)) {
      this.strings.set(id, randomText(lettersAndDigits, 32));
    }
    return this.strings.get(id)!;
  }
}

function generate(rules: GenerateSecretString): string {
  const alphabet = rules.ExcludePunctuation ? lettersAndDigits : lettersAndDigits + punctuation;
  const allowed = [...alphabet].filter(character => !rules.ExcludeCharacters?.includes(character)).join('');
  const text = randomText(allowed, rules.PasswordLength ?? 32);
  if (rules.GenerateStringKey === undefined) {
    return text;
  }
  return JSON.stringify({ ...JSON.parse(rules.SecretStringTemplate ?? '{}'), [rules.GenerateStringKey]: text });
}

function randomText(alphabet: string, length: number): string {
  return Array.from({ length }, () => alphabet[randomInt(alphabet.length)]).join('');
}
