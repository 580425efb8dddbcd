"""The protocol engine: an `h2` server connection with Apple's settings, and h2's two habits taken off it.

1. h2 takes GOAWAY, sent or received, for the end of the connection and refuses to send anything after it.
   RFC 9113 section 6.8 lets the streams up to the last stream id finish, and a graceful shutdown lives on
   that; so here the connection stays in its state.
2. h2 takes a stream beyond MAX_CONCURRENT_STREAMS for a connection error, and counts all open streams for
   each new one to find out. Apple refuses the stream (section 5.1.2 allows either), and counting is the
   session's job; so here h2 finds none open, and `sweep` does the forgetting of closed streams that h2
   does while it counts.
"""

from h2.config import H2Configuration
from h2.connection import ConnectionInputs, ConnectionState, H2Connection, H2ConnectionStateMachine
from h2.settings import SettingCodes, Settings

# Seen on connections to Apple: jchambers/pushy issues 476, 356 and 878.
HEADER_TABLE_BYTES = 4096
INITIAL_WINDOW_BYTES = 65_535
MAX_FRAME_BYTES = 16_384
HEADER_LIST_BYTES_MAX = 8000


_TRANSITIONS = {
    **H2ConnectionStateMachine._transitions,
    **{
        (state, goaway): (None, state)
        for state in (ConnectionState.IDLE, ConnectionState.SERVER_OPEN)
        for goaway in (ConnectionInputs.SEND_GOAWAY, ConnectionInputs.RECV_GOAWAY)
    },
}


class _OpenAfterGoaway(H2ConnectionStateMachine):
    """h2's table of states with four rows replaced: GOAWAY leaves the connection as it is."""

    def __init__(self) -> None:
        super().__init__()
        self._transitions = _TRANSITIONS


class AppleConnection(H2Connection):
    """An h2 server connection that announces what Apple announces."""

    def __init__(self, streams: int) -> None:
        # Requests are validated: a client that breaks RFC 9113 shall be told, as Apple tells it. Answers
        # are the simulator's own, and validating each would cost a tenth of its speed.
        super().__init__(
            H2Configuration(
                client_side=False,
                header_encoding=None,
                validate_inbound_headers=True,
                normalize_inbound_headers=False,
                validate_outbound_headers=False,
                normalize_outbound_headers=False,
            )
        )
        self.state_machine = _OpenAfterGoaway()
        self.local_settings = Settings(
            client=False,
            initial_values={
                SettingCodes.HEADER_TABLE_SIZE: HEADER_TABLE_BYTES,
                SettingCodes.MAX_CONCURRENT_STREAMS: streams,
                SettingCodes.INITIAL_WINDOW_SIZE: INITIAL_WINDOW_BYTES,
                SettingCodes.MAX_FRAME_SIZE: MAX_FRAME_BYTES,
                SettingCodes.MAX_HEADER_LIST_SIZE: HEADER_LIST_BYTES_MAX,
            },
        )
        # h2 tells its decoder only of changes, not of initial values.
        self.decoder.max_header_list_size = HEADER_LIST_BYTES_MAX
        self.initiate_connection()

    @property
    def open_inbound_streams(self) -> int:
        """None, for h2; see above. One less than none, since h2 adds one and a limit may be 0."""
        return -1

    def sweep(self) -> None:
        """Forget closed streams. Once per batch is enough; the cost is that of the streams open then."""
        self._open_streams(1)
