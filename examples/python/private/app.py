from aws_cdk import App, CfnOutput, Duration, Environment, Stack
from aws_cdk.aws_ec2 import Peer, Vpc
from aws_cdk.aws_ecs import Secret
from aws_cdk.aws_kms import Key
from aws_cdk.aws_route53 import HostedZone
from aws_cdk.aws_s3 import BlockPublicAccess, Bucket, LifecycleRule
from aws_cdk import aws_secretsmanager as secretsmanager
from cdk_secure_mlflow import ArtifactTransfer, AuthProvider, SecureMlflow, TokenIssuer

# Replace region, VPC, sources, domain, zone, client id and secret name.
app = App()
stack = Stack(app, "MlflowPrivate", env=Environment(region="eu-central-1"))  # the region decides which principal writes the access logs
mlflow = SecureMlflow(
    stack,
    "Mlflow",
    vpc=Vpc.from_vpc_attributes(
        stack,
        "Vpc",
        vpc_id="vpc-0123456789abcdef0",
        availability_zones=["eu-central-1a", "eu-central-1b"],
        private_subnet_ids=["subnet-0123456789abcdefc", "subnet-0123456789abcdefd"],
        private_subnet_route_table_ids=["rtb-0123456789abcdefc", "rtb-0123456789abcdefd"],
    ),
    internet_facing=False,
    allowed_sources=[Peer.ipv4("10.0.0.0/8")],
    artifact_transfer=ArtifactTransfer.THROUGH_SERVER,  # clients need no access to S3
    encryption_key=Key(stack, "Key", enable_key_rotation=True),
    access_logs_bucket=Bucket(
        stack,
        "AccessLogs",
        block_public_access=BlockPublicAccess.BLOCK_ALL,
        enforce_ssl=True,
        lifecycle_rules=[LifecycleRule(expiration=Duration.days(90))],
    ),
    domain_name="mlflow.example.com",
    hosted_zone=HostedZone.from_hosted_zone_attributes(
        stack, "Zone", zone_name="example.com", hosted_zone_id="Z0123456789EXAMPLE"
    ),
    auth_provider=AuthProvider.google(
        client_id="1234.apps.googleusercontent.com",
        client_secret=Secret.from_secrets_manager(
            secretsmanager.Secret.from_secret_name_v2(stack, "OAuth", "mlflow/oauth"), "clientSecret"
        ),
    ),
    email_domains=["example.com"],
    trusted_token_issuers=[TokenIssuer.gcloud()],
)
CfnOutput(stack, "MlflowUri", value=mlflow.url)
app.synth()
