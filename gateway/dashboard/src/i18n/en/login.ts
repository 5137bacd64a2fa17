export default {
  title: "Log in",
  user: "User name",
  password: "Password",
  code: "Code of your authenticator app",
  submit: "Log in",
  oidc: "Log in with your organisation",
  first: "The first password was printed when the gateway first started.",
  wrong: "The user name, the password or the code is wrong.",
  locked: "The user name, the password or the code is wrong, or too many were: then this account is closed from here for a while, up to a quarter of an hour.",
  tagline: "Light, programmable, never restarted for a change.",
  elsewhere: "Log in at the provider",
  goOn: "I have, go on",
};
