from aws_cdk import App, CfnOutput, Stack
from aws_cdk.aws_certificatemanager import Certificate
from aws_cdk.aws_ec2 import Vpc
from aws_cdk.aws_ecs import Secret
from aws_cdk.aws_route53 import HostedZone
from aws_cdk.aws_s3 import Bucket
from aws_cdk import aws_secretsmanager as secretsmanager
from cdk_secure_mlflow import AuthProvider, SecureMlflow, TokenIssuer

# Replace all ids and names.
app = App()
stack = Stack(app, "MlflowBringYourOwn")
mlflow = SecureMlflow(
    stack,
    "Mlflow",
    vpc=Vpc.from_vpc_attributes(
        stack,
        "Vpc",
        vpc_id="vpc-0123456789abcdef0",
        availability_zones=["eu-central-1a", "eu-central-1b"],
        public_subnet_ids=["subnet-0123456789abcdefa", "subnet-0123456789abcdefb"],
        public_subnet_route_table_ids=["rtb-0123456789abcdefa", "rtb-0123456789abcdefb"],
        private_subnet_ids=["subnet-0123456789abcdefc", "subnet-0123456789abcdefd"],
        private_subnet_route_table_ids=["rtb-0123456789abcdefc", "rtb-0123456789abcdefd"],
    ),
    domain_name="mlflow.example.com",
    hosted_zone=HostedZone.from_hosted_zone_attributes(
        stack, "Zone", zone_name="example.com", hosted_zone_id="Z0123456789EXAMPLE"
    ),
    certificate=Certificate.from_certificate_arn(
        stack, "Certificate", "arn:aws:acm:eu-central-1:111122223333:certificate/11111111-2222-3333-4444-555555555555"
    ),
    artifact_bucket=Bucket.from_bucket_name(stack, "Bucket", "example-ml"),
    artifact_path="teams/research",
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
