using System;

namespace VMS.TPS.Common.Model.Types
{
    public struct StructureApprovalHistoryEntry
    {
        public StructureApprovalStatus ApprovalStatus;
        public string StatusComment;
        public string UserId;
        public string UserDisplayName;
        public DateTime ApprovalDateTime;
    }
}
