import * as iam from 'aws-cdk-lib/aws-iam';
import { Construct, IConstruct } from 'constructs';
import type { TrackingAccessOptions } from './access';
import { grantTokens, roleArnOf } from './auth/aws-roles';
import { DOMAIN, known, show, throwProblems } from './checks/problems';

/** A tracking server, of this app or of another: what the programs that use it need to know. */
export interface ISecureMlflow extends IConstruct {
  /** The address of the server, for the browser and for `MLFLOW_TRACKING_URI`. */
  readonly url: string;

  /**
   * Lets an AWS role ask AWS for identity tokens for this server.
   *
   * It gets in if the server has its ARN on the list: `grantTrackingAccess` of the `SecureMlflow` itself puts it there.
   *
   * Fails if the grantee is no role; on the `SecureMlflow` itself also without `awsIdentityIssuer`, and elsewhere with a level, which only the server itself
   * can give.
   *
   * @param grantee the role, or what has one, such as a function
   * @param options what it may do
   */
  grantTrackingAccess(grantee: iam.IGrantable, options?: TrackingAccessOptions): iam.Grant;
}

/** Where a tracking server is. */
export interface SecureMlflowAttributes {
  /** The `url` of the `SecureMlflow`: `https://` and its `domainName`. */
  readonly url: string;
}

const HTTPS = 'https://';

/** What `SecureMlflow.fromSecureMlflowAttributes` gives. */
export class ImportedSecureMlflow extends Construct implements ISecureMlflow {
  public readonly url: string;

  public constructor(scope: Construct, id: string, { url }: SecureMlflowAttributes) {
    super(scope, id);
    if (known(url) && !(url.startsWith(HTTPS) && DOMAIN.test(url.slice(HTTPS.length)))) { // AWS compares it letter by letter
      throwProblems(this.node.path, [`\`url\` must be like "https://mlflow.example.com", got ${show(url)}: use the \`url\` of the server, in lower case, without port, path and a slash at the end`]);
    }
    this.url = url;
  }

  public grantTrackingAccess(grantee: iam.IGrantable, options: TrackingAccessOptions = {}): iam.Grant {
    roleArnOf(this.node.path, grantee);
    if (options.level !== undefined) {
      throw new Error(`${this.node.path}: \`level\` of grantTrackingAccess must be left out for a server of another app, got ${show(options.level)}: name the role's ARN in \`machineIdentities\` and in a list of \`access\` there`);
    }
    return grantTokens(this.url, grantee);
  }
}
