import * as iam from 'aws-cdk-lib/aws-iam';
import { Construct, IConstruct } from 'constructs';
import type { TrackingAccessOptions } from './access';
import { grantTokens, roleArnOf } from './auth/aws-roles';
import { DOMAIN, known, show, throwProblems } from './checks/problems';

/** A tracking server that this app or another app deploys: what programs need to know to use it. */
export interface ISecureMlflow extends IConstruct {
  /** The URL of the server, for the browser and for `MLFLOW_TRACKING_URI`. */
  readonly url: string;

  /**
   * Allows an AWS role to request AWS identity tokens for this server.
   *
   * The server accepts them only if the role's ARN is on its list. `grantTrackingAccess` of the `SecureMlflow` itself adds it.
   *
   * Fails if the grantee is not a role. On the `SecureMlflow` itself it also fails without `awsIdentityIssuer`. On an imported server it fails if a level is
   * given, because only the app of the server can set levels.
   *
   * @param grantee the role, or a construct that has one, such as a function
   * @param options the level of the role
   */
  grantTrackingAccess(grantee: iam.IGrantable, options?: TrackingAccessOptions): iam.Grant;
}

/** Attributes of a tracking server that another app deploys. */
export interface SecureMlflowAttributes {
  /** The `url` of the `SecureMlflow`: `https://` and its `domainName`. */
  readonly url: string;
}

const HTTPS = 'https://';

/** What `SecureMlflow.fromSecureMlflowAttributes` returns. */
export class ImportedSecureMlflow extends Construct implements ISecureMlflow {
  public readonly url: string;

  public constructor(scope: Construct, id: string, { url }: SecureMlflowAttributes) {
    super(scope, id);
    if (known(url) && !(url.startsWith(HTTPS) && DOMAIN.test(url.slice(HTTPS.length)))) { // AWS compares the audience character by character
      throwProblems(this.node.path, [`\`url\` must be like "https://mlflow.example.com", got ${show(url)}: use the \`url\` of the server, in lower case, without port, path and trailing slash`]);
    }
    this.url = url;
  }

  public grantTrackingAccess(grantee: iam.IGrantable, options: TrackingAccessOptions = {}): iam.Grant {
    roleArnOf(this.node.path, grantee);
    if (options.level !== undefined) {
      throw new Error(`${this.node.path}: \`level\` of grantTrackingAccess must be left out for a server of another app, got ${show(options.level)}: in the app of the server, add the role's ARN to \`machineIdentities\` and to a list of \`access\``);
    }
    return grantTokens(this.url, grantee);
  }
}
