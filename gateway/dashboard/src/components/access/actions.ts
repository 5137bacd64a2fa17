// What the record tells of, and how it is said.

/** In the order of the filter. */
export const ACTIONS = [
  "login",
  "login.failed",
  "login.locked_out",
  "logout",
  "user.created",
  "user.changed",
  "user.deleted",
  "sessions.ended",
  "password.changed",
  "password.reset",
  "totp.enrolled",
  "totp.removed",
  "token.created",
  "token.deleted",
];

/** An action in words; one this panel does not know as it is. */
export function actionText(action: string, word: (key: string, otherwise: string) => string): string {
  const key = `access.done.${action.replaceAll(".", "_")}`;
  return word(key, action);
}
