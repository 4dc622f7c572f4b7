"""What every message and API model of ours has in common."""

from pydantic import BaseModel, ConfigDict


class Contract(BaseModel):
    """A frozen model. Consumers ignore fields they do not know; the HTTP edge refuses them (`edge_model`)."""

    model_config = ConfigDict(frozen=True, extra="ignore")
