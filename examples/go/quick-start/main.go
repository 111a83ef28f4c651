package main

import (
	"github.com/aws/aws-cdk-go/awscdk/v2"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsecs"
	"github.com/aws/aws-cdk-go/awscdk/v2/awsroute53"
	"github.com/aws/aws-cdk-go/awscdk/v2/awssecretsmanager"
	"github.com/aws/jsii-runtime-go"
	"github.com/cdk-secure-mlflow/cdk-secure-mlflow-go/cdksecuremlflow"
)

func main() {
	defer jsii.Close()

	// Replace domain, zone, client id, e-mail domains and secret name.
	app := awscdk.NewApp(nil)
	stack := awscdk.NewStack(app, jsii.String("MlflowQuickStart"), nil)
	oauth := awssecretsmanager.Secret_FromSecretNameV2(stack, jsii.String("OAuth"), jsii.String("mlflow/oauth"))
	mlflow := cdksecuremlflow.NewSecureMlflow(stack, jsii.String("Mlflow"), &cdksecuremlflow.SecureMlflowProps{
		DomainName: jsii.String("mlflow.example.com"),
		HostedZone: awsroute53.HostedZone_FromHostedZoneAttributes(stack, jsii.String("Zone"), &awsroute53.HostedZoneAttributes{
			ZoneName:     jsii.String("example.com"),
			HostedZoneId: jsii.String("Z0123456789EXAMPLE"),
		}),
		AuthProvider: cdksecuremlflow.AuthProvider_Google(&cdksecuremlflow.GoogleAuthProviderOptions{
			ClientId:     jsii.String("1234.apps.googleusercontent.com"),
			ClientSecret: awsecs.Secret_FromSecretsManager(oauth, jsii.String("clientSecret")),
		}),
		EmailDomains:        jsii.Strings("example.com"),
		TrustedTokenIssuers: &[]cdksecuremlflow.TokenIssuer{cdksecuremlflow.TokenIssuer_Gcloud()},
	})
	awscdk.NewCfnOutput(stack, jsii.String("MlflowUri"), &awscdk.CfnOutputProps{Value: mlflow.Url()})
	app.Synth(nil)
}
