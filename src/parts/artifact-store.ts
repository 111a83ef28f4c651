import { Duration, RemovalPolicy } from 'aws-cdk-lib';
import * as iam from 'aws-cdk-lib/aws-iam';
import * as kms from 'aws-cdk-lib/aws-kms';
import * as s3 from 'aws-cdk-lib/aws-s3';
import { Construct } from 'constructs';

export interface ArtifactStoreProps {
  readonly bucket?: s3.IBucket;
  readonly path: string;
  readonly encryptionKey?: kms.IKey;
  readonly removalPolicy: RemovalPolicy;
  /** How long the new bucket keeps files that were deleted or overwritten. Forever if it is undefined. */
  readonly keepVersionsFor?: Duration;
  readonly tiering: boolean;
}

/** The bucket, new or existing, and the one folder in it that MLflow may use. */
export class ArtifactStore extends Construct {
  public readonly bucket: s3.IBucket;
  /** The new bucket. Undefined if a bucket was passed. */
  public readonly created?: s3.Bucket;
  /** The artifacts destination of MLflow. */
  public readonly uri: string;
  private readonly path: string;

  public constructor(scope: Construct, id: string, props: ArtifactStoreProps) {
    super(scope, id);
    this.path = props.path;
    this.created = props.bucket ? undefined : new s3.Bucket(this, 'Bucket', {
      ...(props.encryptionKey
        ? { encryption: s3.BucketEncryption.KMS, encryptionKey: props.encryptionKey, bucketKeyEnabled: true } // without a bucket key KMS charges for every object
        : { encryption: s3.BucketEncryption.S3_MANAGED }),
      enforceSSL: true,
      minimumTLSVersion: 1.2,
      blockPublicAccess: s3.BlockPublicAccess.BLOCK_ALL,
      objectOwnership: s3.ObjectOwnership.BUCKET_OWNER_ENFORCED,
      versioned: true,
      lifecycleRules: this.lifecycleRules(props),
      removalPolicy: props.removalPolicy,
    });
    this.bucket = props.bucket ?? this.created!;
    this.uri = `s3://${this.bucket.bucketName}/${this.path}`;
  }

  /** Grants exactly the calls that MLflow needs. The grant methods of the bucket would add tagging, retention and wildcards. */
  public grantUse(grantee: iam.IGrantable): void {
    this.grant(grantee, ['s3:GetObject', 's3:PutObject', 's3:DeleteObject', 's3:AbortMultipartUpload']);
    this.bucket.encryptionKey?.grant(grantee, 'kms:Decrypt', 'kms:GenerateDataKey');
  }

  /** Grants listing and deleting objects, but not reading them. Versions cannot be deleted, so a deleted object can still be restored. */
  public grantRemove(grantee: iam.IGrantable): void {
    this.grant(grantee, ['s3:DeleteObject']);
  }

  private grant(grantee: iam.IGrantable, actions: string[]): void {
    const ofItsAccount = { StringEquals: { 'aws:ResourceAccount': this.bucket.env.account } }; // if the bucket is deleted, another account could create one with the same name
    iam.Grant.addToPrincipal({
      grantee,
      actions: ['s3:ListBucket'],
      resourceArns: [this.bucket.bucketArn],
      conditions: { ...ofItsAccount, StringLike: { 's3:prefix': [this.path, `${this.path}/*`] } },
    });
    iam.Grant.addToPrincipal({
      grantee,
      actions,
      resourceArns: [this.bucket.arnForObjects(`${this.path}/*`)],
      conditions: ofItsAccount,
    });
  }

  private lifecycleRules({ path, keepVersionsFor, tiering }: ArtifactStoreProps): s3.LifecycleRule[] {
    const rules: s3.LifecycleRule[] = [{ abortIncompleteMultipartUploadAfter: Duration.days(7) }];
    if (keepVersionsFor !== undefined) {
      rules.push({ prefix: `${path}/`, noncurrentVersionExpiration: keepVersionsFor, expiredObjectDeleteMarker: true });
    }
    if (tiering) {
      rules.push({ prefix: `${path}/`, transitions: [{ storageClass: s3.StorageClass.INTELLIGENT_TIERING, transitionAfter: Duration.days(0) }] });
    }
    return rules;
  }
}
