"""What each safe code means to a person, and what the person can do about it. One catalogue for every page and answer.

A title is a fact without a full stop; a next step is one sentence that names who or what can help.
"""

from dataclasses import dataclass

from shared.domain.errors import SafeCode


@dataclass(frozen=True, slots=True)
class ErrorText:
    """Two short texts, free of data: what they are about stands in the error's context."""

    title: str
    next_step: str


_AGAIN_LATER = "Nothing to do at first: it is tried again by itself. If it stays, see whether the other side works."
_MEND_REQUEST = "Mend the request; a repetition of the same one gets the same answer."
_MEND_PUBLISHER = "Mend the program that sent the message; the message itself is kept in a parked or dead queue."
_SIGN = "Register the publisher, and have it sign: reinstate upstream add, docs/reference/signed-commands.md."
_MEND_FILE = "Export the object again, or take the file out of the folder; the other files are not affected."
_REPORT = "Report it with the run's id; the process's own log has the kind of the error."

ERROR_TEXTS: dict[SafeCode, ErrorText] = {
    SafeCode.GRAPH_THROTTLED: ErrorText(
        "The tenant's system asked to wait", "Nothing: the run goes on by itself once the wait is over."
    ),
    SafeCode.GRAPH_UNAVAILABLE: ErrorText("The tenant's system did not answer", _AGAIN_LATER),
    SafeCode.GRAPH_BAD_REQUEST: ErrorText(
        "The tenant's system refused the content of a request",
        "Compare the item with the tenant's object; the type may have changed since it was captured.",
    ),
    SafeCode.GRAPH_NOT_FOUND: ErrorText(
        "The object is not in the tenant", "Refresh the inventory, or make a new preview, and start again."
    ),
    SafeCode.GRAPH_CONFLICT: ErrorText(
        "The object changed while it was worked on", "Make a new preview and execute that one."
    ),
    SafeCode.GRAPH_PAGING_BROKEN: ErrorText("The tenant's system listed its objects inconsistently", _AGAIN_LATER),
    SafeCode.GRAPH_BAD_RESPONSE: ErrorText("The tenant's system gave an answer that cannot be used", _AGAIN_LATER),
    SafeCode.AUTH_TOKEN_INVALID: ErrorText(
        "Signing in to the tenant was refused", "Renew the tenant's consent or the application's secret, then retry."
    ),
    SafeCode.AUTH_PERMISSION_MISSING: ErrorText(
        "The application lacks a permission in the tenant", "Have the tenant's administrator grant it, then retry."
    ),
    SafeCode.FOLDER_FILE_UNREADABLE: ErrorText(
        "A file cannot be read", "Check the file's rights, and that it is a regular file."
    ),
    SafeCode.FOLDER_NOT_JSON: ErrorText("A file is not JSON", _MEND_FILE),
    SafeCode.FOLDER_NOT_A_POLICY: ErrorText("A file holds no policy", _MEND_FILE),
    SafeCode.FOLDER_MISSING: ErrorText("There is no such folder", "Check the path; it must be a folder."),
    SafeCode.FOLDER_FILE_TOO_LARGE: ErrorText("A file is too large for a policy", _MEND_FILE),
    SafeCode.FOLDER_FILE_OUTSIDE: ErrorText(
        "A file or link leads outside of the folder", "Copy what it leads to into the folder."
    ),
    SafeCode.POLICY_TYPE_UNKNOWN: ErrorText(
        "The policy's type is not supported", "Leave it out, or declare the type: docs/how-to/add-a-policy-type.md."
    ),
    SafeCode.POLICY_NOT_FOUND: ErrorText(
        "The tenant has no policy with this id", "Refresh the inventory and select the policy anew."
    ),
    SafeCode.POLICY_NOT_CANONICAL: ErrorText(
        "The policy holds values that JSON cannot carry exactly", "Change the value in the tenant, or leave it out."
    ),
    SafeCode.SNAPSHOT_CORRUPT: ErrorText(
        "A stored snapshot is not what was captured", "Restore it from another backup set, and check the database."
    ),
    SafeCode.SNAPSHOT_MISSING: ErrorText("There is no snapshot of the item", "Capture the policy, then start again."),
    SafeCode.SNAPSHOT_TOO_LARGE: ErrorText("The policy is too large to be stored", "Leave the policy out."),
    SafeCode.RESTORE_PREVIEW_ONLY: ErrorText(
        "This type is previewed and never written", "Make the change by hand; the preview shows what differs."
    ),
    SafeCode.RESTORE_PREVIEW_REQUIRED: ErrorText(
        "A restore needs a preview that succeeded", "Start a preview and execute that one."
    ),
    SafeCode.RESTORE_PLAN_CHANGED: ErrorText(
        "The tenant is not as it was at the preview", "Make a new preview and look at it again."
    ),
    SafeCode.RESTORE_AMBIGUOUS_TARGET: ErrorText(
        "Several objects may be meant", "Preview again with a target for the item: its entry lists the candidates."
    ),
    SafeCode.RESTORE_MAPPING_UNSAFE: ErrorText(
        "A reference leads nowhere for certain",
        "Restore what it refers to as well, or set the reference by hand; nothing was assigned more widely.",
    ),
    SafeCode.RESTORE_SECRET_UNAVAILABLE: ErrorText(
        "The policy holds a secret that was not captured", "Write the policy by hand, with the secret."
    ),
    SafeCode.RESTORE_VERIFY_FAILED: ErrorText(
        "A write was answered but does not show", "Look at the object in the tenant, then make a new preview."
    ),
    SafeCode.RESTORE_OUTCOME_UNKNOWN: ErrorText(
        "A write may or may not have happened", "Look at the object in the tenant; only a person can decide this."
    ),
    SafeCode.BACKUP_SET_ITEM_ALREADY_IN_SET: ErrorText(
        "The set holds the policy already", "Nothing: it was skipped. For a newer capture make a new set."
    ),
    SafeCode.BACKUP_SET_NOT_FOUND: ErrorText("The tenant has no backup set with this id", "Choose one from its list."),
    SafeCode.SCOPE_TENANT_MISMATCH: ErrorText(
        "The tenant has nothing with this id", "Check tenant and id; what belongs to others is told to nobody."
    ),
    SafeCode.SELECTION_EMPTY: ErrorText("Nothing was selected", "Select something, or refresh the inventory first."),
    SafeCode.SELECTION_UNKNOWN_ITEMS: ErrorText(
        "The selection names items that the tenant does not have", "Refresh the list and select anew."
    ),
    SafeCode.SELECTION_TOO_LARGE: ErrorText(
        "The selection is too large", "Select by rule instead of by ids, or start several runs."
    ),
    SafeCode.OPERATION_UNKNOWN: ErrorText("There is no such operation", _MEND_REQUEST),
    SafeCode.REQUEST_INVALID: ErrorText("The request is not as it should be", _MEND_REQUEST),
    SafeCode.REQUEST_TOO_LARGE: ErrorText("The body is too large", "Select by rule instead of by ids, or send less."),
    SafeCode.REQUEST_NOT_JSON: ErrorText("The body is not JSON", _MEND_REQUEST),
    SafeCode.REQUEST_CURSOR_INVALID: ErrorText(
        "The cursor is not one of this list", "Begin with the first page, with the same filters throughout."
    ),
    SafeCode.REQUEST_IDEMPOTENCY_CONFLICT: ErrorText(
        "This Idempotency-Key came with another request before", "Take a new key for another request."
    ),
    SafeCode.REQUEST_METHOD_NOT_ALLOWED: ErrorText("The method is not allowed here", _MEND_REQUEST),
    SafeCode.AUTHZ_UNAUTHENTICATED: ErrorText("Nobody is signed in", "Send a valid token."),
    SafeCode.AUTHZ_MISSING_CAPABILITY: ErrorText(
        "Your role in this tenant does not allow it", "Ask an owner of the tenant for a stronger role."
    ),
    SafeCode.AUTHZ_INITIATOR_MISSING: ErrorText(
        "Who started the run is no user any more", "Have somebody else start it."
    ),
    SafeCode.AUTHZ_INITIATOR_NOT_ENTITLED: ErrorText(
        "Who started the run does not belong to the tenant", "Have a member of the tenant start it."
    ),
    SafeCode.AUTHZ_TENANT_NOT_OPERABLE: ErrorText(
        "The tenant is suspended", "It can be read; to start runs, have it made active again."
    ),
    SafeCode.RESOURCE_NOT_FOUND: ErrorText("There is no such resource", "Check tenant and id, and who is signed in."),
    SafeCode.MESSAGE_UNDECODABLE: ErrorText("A message cannot be read", _MEND_PUBLISHER),
    SafeCode.MESSAGE_UNKNOWN_VERSION: ErrorText(
        "A message is of a version that this service does not know", "Upgrade the service, or mend the sender."
    ),
    SafeCode.MESSAGE_TOO_LARGE: ErrorText("A message is too large", "Select by rule instead of by ids."),
    SafeCode.MESSAGE_ID_MISSING: ErrorText("A message has no usable id", _MEND_PUBLISHER),
    SafeCode.MESSAGE_UNROUTABLE: ErrorText(
        "No queue wants a message", "Compare the broker with the topology: reinstate topology check."
    ),
    SafeCode.MESSAGE_RETRIES_EXHAUSTED: ErrorText(
        "A message failed in every waiting room", "Mend the cause, then send it again: reinstate dead replay."
    ),
    SafeCode.MESSAGE_DELIVERY_LIMIT: ErrorText(
        "Every process that took a message died of it",
        "See why the processes ended, mend that, then send the message again: reinstate dead replay.",
    ),
    SafeCode.QUEUE_DISPATCH_FAILED: ErrorText(
        "The broker refused the run for good", "Compare the broker with the topology, then start the run again."
    ),
    SafeCode.RUN_DEADLINE_EXCEEDED: ErrorText(
        "The run reached its deadline", "See which items were done, then start a run for the rest."
    ),
    SafeCode.RUN_STALE_QUEUED: ErrorText("The run waited too long for a worker", "See whether workers run."),
    SafeCode.RUN_STALE_RUNNING: ErrorText(
        "The run lost one worker after the other and did not get on",
        "See what ended them: the workers' logs, their memory, the dead messages. Then retry what is left.",
    ),
    SafeCode.RUN_NOT_ACTIVE: ErrorText("The run is over", "Look at how it ended; start a new one if it is needed."),
    SafeCode.RUN_STILL_ACTIVE: ErrorText(
        "The run is not over", "Wait for its end, or abort it; then what failed can be retried."
    ),
    SafeCode.RUN_ABORTED: ErrorText("A person aborted the run", "See which items were done: an abort undoes nothing."),
    SafeCode.TENANT_CONNECTION_INVALID: ErrorText(
        "The tenant's connection is not set up", "Correct the setting that the context names."
    ),
    SafeCode.ARCHIVE_TOO_LARGE: ErrorText("The export is larger than allowed", "Export fewer policies at a time."),
    SafeCode.TOPOLOGY_CONFLICT: ErrorText(
        "The broker has an object of ours with other fixed properties",
        "Delete the named objects once they are empty, then apply again.",
    ),
    SafeCode.TOPOLOGY_REFUSED: ErrorText(
        "The broker refused the topology", "Check virtual host and user: reinstate doctor."
    ),
    SafeCode.TOPOLOGY_UNREACHABLE: ErrorText(
        "The broker's management API does not answer",
        "Check that it is enabled and that RABBITMQ_MANAGEMENT_URL leads there.",
    ),
    SafeCode.SERVICE_UNAVAILABLE: ErrorText(
        "Try again later", "Try again in a moment; operators look at /readyz and reinstate doctor."
    ),
    SafeCode.INTERNAL_UNEXPECTED: ErrorText("Something went wrong on our side", _REPORT),
    SafeCode.SERVICE_OVERLOADED: ErrorText(
        "Too many requests at once",
        "Send it again after the seconds that Retry-After names, under the same Idempotency-Key.",
    ),
    SafeCode.RESTORE_CHANGED_SINCE: ErrorText(
        "The object was changed after the restore",
        "Look at the object: it is left as it is, so that nobody's later work is lost.",
    ),
    SafeCode.RESTORE_NOT_UNDOABLE: ErrorText(
        "The live object holds a secret that cannot be kept",
        "Note the secret down first: after the restore an undo could not write it again.",
    ),
    SafeCode.RESTORE_EXISTS_ALREADY: ErrorText(
        "The object is there and was to be left alone", "Nothing; to have it changed, preview with match=overwrite."
    ),
    SafeCode.RESTORE_LIVE_NOT_CAPTURED: ErrorText(
        "The object was changed after its last capture",
        "Capture the policy so that the change is kept, then make a new preview.",
    ),
    SafeCode.RESTORE_NAME_TAKEN: ErrorText(
        "The name of the copy is taken", "Choose another suffix, or rename the other object, then preview again."
    ),
    SafeCode.RESTORE_TARGET_MISSING: ErrorText(
        "The tenant has no such object of this type",
        "Name another target, or restore the object itself before its assignments.",
    ),
    SafeCode.RESTORE_PREVIEW_STALE: ErrorText(
        "The preview cannot be relied on any more", "Make a new preview, look at it, and execute that one."
    ),
    SafeCode.ARCHIVE_NOT_WHOLE: ErrorText(
        "The archive is not what its manifest says",
        "See what differs: reinstate backup verify; then export it again, or take it from where it came once more.",
    ),
    SafeCode.ARCHIVE_EXCEEDS_LIMITS: ErrorText(
        "The archive holds more than is taken", "Export fewer policies at a time, and import each archive."
    ),
    SafeCode.ARCHIVE_HOLDS_NOTHING: ErrorText(
        "The archive holds nothing that can be imported",
        "See which types are supported: docs/reference/policy-types.md.",
    ),
    SafeCode.FOLDER_NOT_EMPTY: ErrorText(
        "The folder is not empty", "Name a new folder: nothing that exists is written over."
    ),
    SafeCode.RESTORE_APP_UNCERTAIN: ErrorText(
        "The policy names an app that is not for certain in the tenant",
        "Add the app there, of the same name and type, or rename its namesakes; then preview again.",
    ),
    SafeCode.RESTORE_FIXED_AT_CREATION: ErrorText(
        "The live object differs in what can only be chosen when it is created",
        "Rename or delete the live object, then preview again: it is created anew. Or restore it as a copy.",
    ),
    SafeCode.AUTHZ_TENANT_MISSING: ErrorText(
        "The run's tenant is not there any more", "Nothing: without its tenant there is nothing to work on."
    ),
    SafeCode.MESSAGE_SENDER_UNKNOWN: ErrorText(
        "A command does not say who sent it",
        "Have the publisher set the property user_id to its own broker user; the message itself is kept.",
    ),
    SafeCode.KEY_UNAVAILABLE: ErrorText(
        "The tenant's data key cannot be opened",
        "See which key-encryption key is missing: reinstate keys status; then set it again in KEY_ENCRYPTION_KEYS.",
    ),
    SafeCode.TENANT_SHREDDED: ErrorText(
        "The tenant's keys were destroyed",
        "Nothing can be read any more, and nothing brings it back: that was asked for.",
    ),
    SafeCode.REQUEST_EXCEEDS_LIMITS: ErrorText(
        "The body holds more than is read",
        "Send less: the answer names what there is too much of, and how much is taken.",
    ),
    SafeCode.MESSAGE_EXCEEDS_LIMITS: ErrorText("A message holds more than is read", _MEND_PUBLISHER),
    SafeCode.RATE_EXCEEDED: ErrorText(
        "Too many requests in a short time",
        "Send it again after the seconds that Retry-After names; a message waits by itself.",
    ),
    SafeCode.QUOTA_ACTIVE_RUNS: ErrorText(
        "The tenant has as many active runs as it may", "Wait until some are over, or abort what nobody needs."
    ),
    SafeCode.OUTGOING_ADDRESS_REFUSED: ErrorText(
        "An address outside may not be called", "Name an https address that leads to the public network."
    ),
    SafeCode.OUTGOING_REFUSED: ErrorText(
        "The other side refused what was sent", "Check the address, and what its owner expects."
    ),
    SafeCode.OUTGOING_NO_ANSWER: ErrorText("The other side did not answer", _AGAIN_LATER),
    SafeCode.SIGNATURE_MISSING: ErrorText("A command is not signed", _SIGN),
    SafeCode.SIGNATURE_INVALID: ErrorText(
        "A command is not what its sender signed",
        "Compare the publisher with docs/reference/signed-commands.md; if it is right, see who else can publish.",
    ),
    SafeCode.SIGNATURE_KEY_UNKNOWN: ErrorText("Nobody has registered the key of a signature", _SIGN),
    SafeCode.SIGNATURE_KEY_REVOKED: ErrorText(
        "The key of a signature was revoked",
        "Find out who still uses it; give the publisher a new one: upstream rotate.",
    ),
    SafeCode.SIGNATURE_KEY_EXPIRED: ErrorText(
        "The key of a signature has expired", "Give the publisher a new key: reinstate upstream rotate."
    ),
    SafeCode.SIGNATURE_KEY_NOT_YET_VALID: ErrorText(
        "A command was signed before its key was valid", "Set the publisher's clock, then have it send a new command."
    ),
    SafeCode.SIGNATURE_TOO_OLD: ErrorText(
        "A command was signed too long ago",
        "Have the publisher send a new one; or, if this one is still wanted, send it again: reinstate dead replay.",
    ),
    SafeCode.SIGNATURE_FROM_THE_FUTURE: ErrorText(
        "A command was signed in the future", "Set the publisher's clock, then have it send a new command."
    ),
    SafeCode.UPSTREAM_TENANT_NOT_ALLOWED: ErrorText(
        "The upstream system may not act for this tenant",
        "If it should, say so: reinstate upstream add; if not, find out why it tried.",
    ),
    SafeCode.UPSTREAM_OPERATION_NOT_ALLOWED: ErrorText(
        "The upstream system may not start this operation",
        "If it should, say so: reinstate upstream add; if not, find out why it tried.",
    ),
    SafeCode.UPSTREAM_NOT_THE_PUBLISHER: ErrorText(
        "A command came from another upstream system than the one that signed it",
        "Find out who has got hold of the other's commands or key; revoke the key: reinstate upstream revoke.",
    ),
    SafeCode.AUTHZ_SIGN_IN_LINK_INVALID: ErrorText(
        "The sign-in link does not work any more",
        "It may be used, too old or not whole. Ask an administrator for another one: reinstate user sign-in-link.",
    ),
    SafeCode.REQUEST_FORGED: ErrorText(
        "The form did not come from this page of the console",
        "Nothing was done. Open the page again, look at what it shows, and send the form from there.",
    ),
    SafeCode.RESTORE_NOT_CONFIRMED: ErrorText(
        "The restore was not confirmed",
        "Nothing was written. Tick the box, type the tenant's name exactly as it is shown, and send the form again.",
    ),
    SafeCode.RESTORE_BLOCKED: ErrorText(
        "Something in the plan is blocked",
        "Nothing was written. Make a preview without it, or mend what blocks it and make a new one.",
    ),
}
